//! The network, or the built-in origin that replaces it.

use std::path::PathBuf;

use lab::origin::{Announcement, Spec};

use super::ConfigError;
use crate::cli::run::{OUTPUT, RunArgs, SIMULATED_OUTPUT};

/// What answers requests.
#[derive(Clone, Debug)]
pub enum Network {
    /// The servers that the URLs name.
    Real,
    /// A built-in origin, started for this run.
    Simulated(Spec),
    /// A built-in origin that is already running and has announced itself with this.
    SimulatedBy(Announcement),
}

impl Network {
    /// Returns whether the bodies come from a simulation.
    #[must_use]
    pub const fn is_simulated(&self) -> bool {
        match self {
            Self::Real => false,
            Self::Simulated(_) | Self::SimulatedBy(_) => true,
        }
    }
}

/// Returns what answers requests.
///
/// # Errors
///
/// Fails if the announcement of an origin cannot be used.
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

/// Returns the default folder. Simulated files are kept apart from real ones.
pub(super) fn default_output(network: &Network) -> PathBuf {
    let folder = match network.is_simulated() {
        true => SIMULATED_OUTPUT,
        false => OUTPUT,
    };
    PathBuf::from(folder)
}
