//! Checks for any bytes received as a frame.

use std::fmt::Debug;

use protocol::codec::{self, EncodeError, MAX_FRAME, Message};
use protocol::{FromWorker, ToWorker};

/// Decodes `data` as either side would.
///
/// # Panics
///
/// Panics if a promise of the codec does not hold.
pub fn check(data: &[u8]) {
    check_as::<ToWorker>(data);
    check_as::<FromWorker>(data);
}

fn check_as<M: Message + PartialEq + Debug>(data: &[u8]) {
    let Ok(message) = codec::decode::<M>(data) else {
        return;
    };
    assert!(data.len() <= MAX_FRAME, "only a frame is decoded");
    // A peer may encode a duration with more than a second of nanoseconds. Encoded here, it is
    // longer, so the contents of the largest frame may no longer fit.
    let frame = match codec::encode(&message) {
        Ok(frame) => frame,
        Err(EncodeError::TooLarge { .. }) if data.len() > MAX_FRAME / 2 => return,
        Err(error) => panic!("{message:?}: {error}"),
    };
    let again = codec::decode::<M>(&frame).expect("a frame of our own");
    assert_eq!(again, message);

    // Only the whole frame is a message. Checking every cut of a long frame would take too long.
    let cuts = frame.len().min(64);
    for kept in (0..cuts).chain(frame.len() - cuts..frame.len()) {
        assert!(codec::decode::<M>(&frame[..kept]).is_err(), "cut to {kept}");
    }
    if frame.len() < MAX_FRAME {
        let longer = [&frame[..], &[0]].concat();
        assert!(codec::decode::<M>(&longer).is_err(), "a byte too many");
    }
}
