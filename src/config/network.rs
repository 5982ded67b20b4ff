//! What answers: the network, or the built-in origin in its place.

use std::path::PathBuf;

use lab::origin::{Announcement, Spec};

use super::ConfigError;
use crate::cli::run::{OUTPUT, RunArgs, SIMULATED_OUTPUT};

/// Who answers.
#[derive(Clone, Debug)]
pub enum Network {
    /// Whoever the URLs name.
    Real,
    /// A built-in origin, started for this run.
    Simulated(Spec),
    /// A built-in origin that runs already and announced itself like this.
    SimulatedBy(Announcement),
}

impl Network {
    /// Whether what is stored is not what its URL names.
    #[must_use]
    pub const fn is_simulated(&self) -> bool {
        match self {
            Self::Real => false,
            Self::Simulated(_) | Self::SimulatedBy(_) => true,
        }
    }
}

/// Who is to answer.
///
/// # Errors
///
/// If the announcement of an origin cannot be used.
pub(super) fn network(args: &RunArgs) -> Result<Network, ConfigError> {
    if let Some(path) = &args.mode.simulate_via {
        let refused = |problem: String| ConfigError::Announcement {
            path: path.clone(),
            problem,
        };
        let line = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
        let announcement: Announcement =
            serde_json::from_slice(&line).map_err(|error| refused(error.to_string()))?;
        if announcement.https.is_none() || announcement.ca_pem.is_none() {
            return Err(refused("it does not serve https".to_owned()));
        }
        return Ok(Network::SimulatedBy(announcement));
    }
    Ok(match &args.simulate {
        Some(spec) => Network::Simulated(*spec),
        None => Network::Real,
    })
}

/// What is not real is not put among real files.
pub(super) fn default_output(network: &Network) -> PathBuf {
    let folder = match network.is_simulated() {
        true => SIMULATED_OUTPUT,
        false => OUTPUT,
    };
    PathBuf::from(folder)
}
