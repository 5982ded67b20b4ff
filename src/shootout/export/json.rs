//! All results as JSON.

use crate::shootout::ShootoutError;
use crate::shootout::result::Shootout;

pub(super) fn text(shootout: &Shootout) -> Result<String, ShootoutError> {
    let text = serde_json::to_string_pretty(shootout);
    let text = text.map_err(|error| ShootoutError::Write {
        what: "the results as JSON".to_owned(),
        source: error.into(),
    })?;
    Ok(text + "\n")
}
