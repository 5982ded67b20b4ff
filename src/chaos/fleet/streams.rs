//! Reads the messages of the queue one by one.
//!
//! Shares no code with the fleet's own reader.

use async_nats::jetstream;

/// A message of the stream of outcomes.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Its sequence number in the stream.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its contents.
    pub payload: Vec<u8>,
}

/// Reads all messages of the stream of outcomes, in order.
///
/// # Errors
///
/// Returns a description if the stream cannot be read.
pub fn read(url: &str) -> Result<Vec<Raw>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let read = runtime.block_on(all(url));
    read.map_err(|error| error.to_string())
}

async fn all(url: &str) -> Result<Vec<Raw>, async_nats::Error> {
    let client = async_nats::connect(url).await?;
    let stream = jetstream::new(client);
    let mut stream = stream.get_stream("co-default-results").await?;
    let last = stream.info().await?.state.last_sequence;
    let mut messages = Vec::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await?;
        messages.push(Raw {
            sequence,
            subject: message.subject.to_string(),
            payload: message.payload.to_vec(),
        });
    }
    Ok(messages)
}
