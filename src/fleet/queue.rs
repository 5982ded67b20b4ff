//! The queue between the members: its streams, its bucket with the table, and the connection to it.
//!
//! | name | holds |
//! | --- | --- |
//! | stream `co-RUN-tasks`, subjects `co.RUN.t.PARTITION` | frames of targets |
//! | stream `co-RUN-results`, subjects `co.RUN.r.PARTITION` | the chains |
//! | the same, subjects `co.RUN.x.PARTITION` | redundant outcomes: those of another owner count |
//! | bucket `co-RUN`, key `table` | the members, and the owner of each partition |
//! | the same, key `fed` | the number of targets of each partition, once all are fed |
//! | the same, key `drain` | members that have to leave |
//! | the same, keys `told.MACHINE` | the offset up to which a member's run log is published |

use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::kv;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Compression, Config, DirectGetErrorKind, DiscardPolicy, LastRawMessageErrorKind, StorageType,
    Stream,
};
use async_nats::jetstream::{self, Context};
use async_nats::{ConnectOptions, ServerAddr};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use url::Url;

use super::FleetError;
use super::frame::VERSION;
use super::lease::{PARTITIONS, Partition, Revision, Table};
use super::monitor;

/// The oldest server version with the JetStream features that are used here.
const OLDEST: (u64, u64) = (2, 10);

/// Timeout of a request.
const ANSWER: Duration = Duration::from_secs(5);

/// The address of the queue, and the credentials for it.
#[derive(Clone, Debug)]
pub struct Place {
    /// `nats://HOST:PORT`, or several, separated by commas.
    pub servers: String,
    /// The name of the fleet's run.
    pub run: String,
    /// A credentials file, as `nsc` creates it.
    pub creds: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey: Option<PathBuf>,
    /// Trusted certificates, in place of the system's.
    pub ca: Option<PathBuf>,
    /// Address of the server's monitoring port.
    pub monitor: Option<Url>,
    /// Number of servers that keep a copy of each message.
    pub replicas: usize,
}

/// The totals that are known once all targets are fed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FedAll {
    /// Number of targets of each partition.
    pub tasks: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    v: u32,
    table: Table,
}

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its sequence number in the stream.
    pub sequence: u64,
    /// Its contents.
    pub payload: Bytes,
}

/// The result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the stream, with this sequence number.
    At(u64),
    /// Another message was appended first.
    Moved,
}

/// The queue of a run.
#[derive(Clone, Debug)]
pub struct Queue {
    context: Context,
    tasks: Stream,
    results: Stream,
    state: kv::Store,
    run: String,
}

impl Queue {
    /// Connects, and creates the streams and the bucket if they do not exist.
    ///
    /// # Errors
    ///
    /// Fails if no server answers or accepts the connection, if the server is too old or has no
    /// JetStream, or if the run has another version.
    pub async fn open(place: &Place) -> Result<Self, FleetError> {
        let client = connect(place).await?;
        let server = client.server_info();
        if let Some(address) = &place.monitor {
            monitor::check(address, &server.server_id).await;
        }
        let version = server.version;
        let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
        let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if number < OLDEST {
            return Err(FleetError::OldServer { version });
        }
        let mut context = jetstream::new(client);
        context.set_timeout(ANSWER);
        let run = &place.run;
        let stream = |name: &str, kinds: &[char]| Config {
            name: format!("co-{run}-{name}"),
            subjects: kinds
                .iter()
                .map(|kind| format!("co.{run}.{kind}.*"))
                .collect(),
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            num_replicas: place.replicas,
            allow_direct: true,
            compression: Some(Compression::S2),
            // Message ids are not used: appends are compare-and-swap.
            duplicate_window: Duration::from_secs(1),
            ..Config::default()
        };
        let tasks = context.get_or_create_stream(stream("tasks", &['t']));
        let tasks = tasks.await.map_err(FleetError::queue("open its tasks"))?;
        let results = context.get_or_create_stream(stream("results", &['r', 'x']));
        let results = results
            .await
            .map_err(FleetError::queue("open its results"))?;
        let bucket = format!("co-{run}");
        let state = match context.get_key_value(&bucket).await {
            Ok(state) => state,
            Err(_) => {
                let created = context.create_key_value(kv::Config {
                    bucket,
                    history: 1,
                    storage: StorageType::File,
                    num_replicas: place.replicas,
                    ..kv::Config::default()
                });
                created.await.map_err(FleetError::queue("open its state"))?
            }
        };
        let queue = Self {
            context,
            tasks,
            results,
            state,
            run: run.clone(),
        };
        // Fails if the run has another version.
        queue.table().await?;
        Ok(queue)
    }

    /// Returns the name of the run.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Returns the table and its revision.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer, or if the run has another version.
    pub async fn table(&self) -> Result<(Revision, Table), FleetError> {
        let entry = self.state.entry("table").await;
        match entry.map_err(FleetError::queue("read who is in the fleet"))? {
            None => Ok((Revision(0), Table::new(PARTITIONS))),
            Some(entry) => {
                #[derive(Deserialize)]
                struct Version {
                    v: u32,
                }
                let Version { v } = serde_json::from_slice(&entry.value)?;
                if v != VERSION {
                    let run = self.run.clone();
                    return Err(FleetError::Version { run, there: v });
                }
                let Versioned { table, .. } = serde_json::from_slice(&entry.value)?;
                Ok((Revision(entry.revision), table))
            }
        }
    }

    /// Writes the table if its revision is still `over`. Returns `None` if it is not.
    ///
    /// # Errors
    ///
    /// Fails if it is unknown whether the table was written.
    pub async fn write_table(
        &self,
        over: Revision,
        table: Table,
    ) -> Result<Option<Revision>, FleetError> {
        let text = serde_json::to_vec(&Versioned { v: VERSION, table })?;
        match self.state.update("table", text.into(), over.0).await {
            Ok(revision) => Ok(Some(Revision(revision))),
            Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(FleetError::queue("say that this member is there")(error)),
        }
    }

    /// Returns the number of targets of each partition, if all are fed.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer.
    pub async fn fed(&self) -> Result<Option<FedAll>, FleetError> {
        self.value("fed").await
    }

    /// Stores that all targets are fed.
    ///
    /// # Errors
    ///
    /// Fails if it is unknown whether this was stored.
    pub async fn set_fed(&self, fed: &FedAll) -> Result<(), FleetError> {
        self.set_value("fed", fed).await
    }

    /// Returns the machines that have to leave; `*` stands for all machines.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer.
    pub async fn drained(&self) -> Result<Vec<String>, FleetError> {
        Ok(self.value("drain").await?.unwrap_or_default())
    }

    /// Sets which machines have to leave.
    ///
    /// # Errors
    ///
    /// Fails if it is unknown whether this was stored.
    pub async fn set_drained(&self, machines: &[String]) -> Result<(), FleetError> {
        self.set_value("drain", &machines).await
    }

    /// Returns the offset up to which a member's run log is published.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer.
    pub async fn told(&self, machine: &str) -> Result<u64, FleetError> {
        let told = self.value(&format!("told.{machine}")).await?;
        Ok(told.unwrap_or_default())
    }

    /// Sets the offset up to which a member's run log is published.
    ///
    /// # Errors
    ///
    /// Fails if it is unknown whether this was stored.
    pub async fn set_told(&self, machine: &str, at: u64) -> Result<(), FleetError> {
        self.set_value(&format!("told.{machine}"), &at).await
    }

    async fn value<T: for<'de> Deserialize<'de>>(
        &self,
        key: &str,
    ) -> Result<Option<T>, FleetError> {
        let value = self.state.get(key).await;
        let value = value.map_err(FleetError::queue("read its state"))?;
        Ok(value
            .map(|value| serde_json::from_slice(&value))
            .transpose()?)
    }

    async fn set_value<T: Serialize>(&self, key: &str, value: &T) -> Result<(), FleetError> {
        let text = serde_json::to_vec(value)?;
        let put = self.state.put(key, text.into()).await;
        put.map(drop).map_err(FleetError::queue("write its state"))
    }

    /// Returns the last frame of a partition.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer.
    pub async fn last_frame(&self, partition: Partition) -> Result<Option<Message>, FleetError> {
        last(&self.tasks, self.subject('t', partition)).await
    }

    /// Returns the first frame of a partition from the sequence number `from` on.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer.
    pub async fn frame(
        &self,
        partition: Partition,
        from: u64,
    ) -> Result<Option<Message>, FleetError> {
        next(&self.tasks, self.subject('t', partition), from).await
    }

    /// Appends a frame if `over` is the sequence number of the last frame of its partition.
    ///
    /// # Errors
    ///
    /// Fails if it is unknown whether the frame was appended.
    pub async fn append_frame(
        &self,
        partition: Partition,
        over: u64,
        frame: Bytes,
    ) -> Result<Appended, FleetError> {
        self.append('t', partition, over, frame).await
    }

    /// Returns the last message of a partition's chain.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer.
    pub async fn chain_end(&self, partition: Partition) -> Result<Option<Message>, FleetError> {
        last(&self.results, self.subject('r', partition)).await
    }

    /// Returns the first message of a partition's chain from the sequence number `from` on.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer.
    pub async fn chain(
        &self,
        partition: Partition,
        from: u64,
    ) -> Result<Option<Message>, FleetError> {
        next(&self.results, self.subject('r', partition), from).await
    }

    /// Appends to a partition's chain if `over` is the sequence number of its last message.
    ///
    /// # Errors
    ///
    /// Fails if it is unknown whether the message was appended.
    pub async fn append_chain(
        &self,
        partition: Partition,
        over: u64,
        message: Bytes,
    ) -> Result<Appended, FleetError> {
        self.append('r', partition, over, message).await
    }

    /// Publishes outcomes that do not count, because those of another owner do.
    ///
    /// # Errors
    ///
    /// Fails if it is unknown whether they were published.
    pub async fn tell_redundant(
        &self,
        partition: Partition,
        lines: Bytes,
    ) -> Result<(), FleetError> {
        let subject = self.subject('x', partition);
        let told = self.context.publish(subject, lines).await;
        let told = told.map_err(FleetError::queue("tell of redundant outcomes"))?;
        let acknowledged = told.await;
        acknowledged
            .map(drop)
            .map_err(FleetError::queue("tell of redundant outcomes"))
    }

    /// Returns the first redundant outcomes of a partition from the sequence number `from` on.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer.
    pub async fn redundant(
        &self,
        partition: Partition,
        from: u64,
    ) -> Result<Option<Message>, FleetError> {
        next(&self.results, self.subject('x', partition), from).await
    }

    /// Returns the number of messages and bytes in the streams: first of tasks, then of results.
    ///
    /// # Errors
    ///
    /// Fails if there is no answer.
    pub async fn sizes(&self) -> Result<[(u64, u64); 2], FleetError> {
        let mut sizes = [(0, 0); 2];
        for (size, stream) in sizes.iter_mut().zip([&self.tasks, &self.results]) {
            let info = stream.get_info().await;
            let state = info.map_err(FleetError::queue("ask for its size"))?.state;
            *size = (state.messages, state.bytes);
        }
        Ok(sizes)
    }

    fn subject(&self, kind: char, partition: Partition) -> String {
        format!("co.{}.{kind}.{}", self.run, partition.0)
    }

    async fn append(
        &self,
        kind: char,
        partition: Partition,
        over: u64,
        payload: Bytes,
    ) -> Result<Appended, FleetError> {
        let message = PublishMessage::build()
            .payload(payload)
            .expected_last_subject_sequence(over);
        let sent = self
            .context
            .send_publish(self.subject(kind, partition), message)
            .await;
        let acknowledged = match sent {
            Ok(sent) => sent.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(acknowledged) => Ok(Appended::At(acknowledged.sequence)),
            Err(error) if is_moved(&error) => Ok(Appended::Moved),
            Err(error) => Err(FleetError::queue("append to a stream")(error)),
        }
    }
}

fn is_moved(error: &PublishError) -> bool {
    error.kind() == PublishErrorKind::WrongLastSequence
}

async fn last(stream: &Stream, subject: String) -> Result<Option<Message>, FleetError> {
    // Asks the leader of the stream: other servers may have older data.
    match stream.get_last_raw_message_by_subject(&subject).await {
        Ok(message) => Ok(Some(Message {
            sequence: message.sequence,
            payload: message.payload,
        })),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(FleetError::queue("read the end of a stream")(error)),
    }
}

async fn next(stream: &Stream, subject: String, from: u64) -> Result<Option<Message>, FleetError> {
    match stream
        .direct_get_next_for_subject(subject, Some(from))
        .await
    {
        Ok(message) => Ok(Some(Message {
            sequence: message.sequence,
            payload: message.payload,
        })),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(FleetError::queue("read a stream")(error)),
    }
}

async fn connect(place: &Place) -> Result<async_nats::Client, FleetError> {
    let unusable = |option: &'static str| move |error| FleetError::Unusable { option, error };
    let mut options = ConnectOptions::new()
        .name(concat!("coordinator/", env!("CARGO_PKG_VERSION")))
        .request_timeout(Some(ANSWER));
    if let Some(path) = &place.creds {
        let text = std::fs::read_to_string(path).map_err(unusable("--creds"))?;
        options = options.credentials(&text).map_err(unusable("--creds"))?;
    }
    if let Some(path) = &place.nkey {
        let seed = std::fs::read_to_string(path).map_err(unusable("--nkey"))?;
        options = options.nkey(seed.trim().to_owned());
    }
    if let Some(path) = &place.ca {
        std::fs::metadata(path).map_err(unusable("--queue-ca"))?;
        options = options.add_root_certificates(path.clone());
    }
    let servers: Result<Vec<ServerAddr>, _> = place
        .servers
        .split(',')
        .map(|server| server.trim().parse())
        .collect();
    let servers = servers.map_err(unusable("--queue"))?;
    // The client ignores the user name and password in an address.
    let user = servers.iter().find_map(|server| {
        let password = server.password().unwrap_or_default();
        Some((decoded(server.username()?), decoded(password)))
    });
    if let Some((user, password)) = user {
        options = options.user_and_password(user, password);
    }
    // Addresses without passwords, for messages.
    let name = |server: &ServerAddr| {
        let (scheme, host, port) = (server.scheme(), server.host(), server.port());
        format!("{scheme}://{host}:{port}")
    };
    let names: Vec<_> = servers.iter().map(name).collect();
    let connected = options.connect(servers).await;
    connected.map_err(|error| FleetError::Connect {
        servers: names.join(","),
        error: error.to_string(),
    })
}

/// Decodes a percent-encoded part of an address.
fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}
