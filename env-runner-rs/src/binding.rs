//! What a warm runner is told once: the environment of its session's commands, and whether they may have the network.
//!
//! It reaches commands and nothing else: the runner's own settings were read before, and are not read again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::config::Network;
use crate::error::{Error, Result};
use crate::exec::{MAX_WORDS_BYTES, is_of_the_runner};

/// What `PUT /v1/environment` takes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BindRequest {
    /// Added to the runner's own environment for every command; of two with one name the later counts. Names that begin
    /// with `RUNNER_` or `DSPY_` reach no command, as those of the runner's own environment do not.
    pub variables: Vec<Variable>,
    /// Whether commands may have the network when they ask for it.
    pub network: Network,
}

/// One variable.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    pub name: String,
    pub value: String,
}

/// A checked [`BindRequest`].
#[derive(PartialEq, Eq)]
pub struct Binding {
    variables: BTreeMap<String, String>,
    pub network: Network,
}

/// Values are secrets.
impl fmt::Debug for Binding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Binding").field("network", &self.network).finish_non_exhaustive()
    }
}

impl Binding {
    /// What holds where nothing is bound: no variables.
    pub const fn of(network: Network) -> Self {
        Self { variables: BTreeMap::new(), network }
    }

    pub fn variables(&self) -> impl Iterator<Item = (String, String)> {
        self.variables.iter().map(|(name, value)| (name.clone(), value.clone()))
    }
}

impl TryFrom<BindRequest> for Binding {
    type Error = Error;

    fn try_from(request: BindRequest) -> Result<Self> {
        let mut variables = BTreeMap::new();
        for Variable { name, value } in request.variables {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(Error::BadRequest(format!("variables: `{name}` is no name for a variable")));
            }
            if value.contains('\0') {
                return Err(Error::BadRequest(format!("variables: the value of `{name}` must not contain NUL")));
            }
            variables.insert(name, value);
        }
        if variables.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_WORDS_BYTES {
            return Err(Error::BadRequest(format!("variables must not pass {MAX_WORDS_BYTES} bytes together")));
        }
        variables.retain(|name, _| !is_of_the_runner(name));
        Ok(Self { variables, network: request.network })
    }
}

/// Where the binding of this process goes.
#[derive(Debug)]
pub enum Slot {
    /// The settings at the start say it all.
    Fixed(Binding),
    /// `--bindable`: no command starts before it is filled.
    Bindable(OnceLock<Binding>),
}

impl Slot {
    /// What commands get.
    ///
    /// # Errors
    /// `NotBound`.
    pub fn get(&self) -> Result<&Binding> {
        match self {
            Self::Fixed(binding) => Ok(binding),
            Self::Bindable(slot) => slot.get().ok_or(Error::NotBound),
        }
    }

    /// Fills it; what it holds already is fine.
    ///
    /// # Errors
    /// `NotBindable`, `BoundToAnother`.
    pub fn bind(&self, binding: Binding) -> Result<()> {
        let Self::Bindable(slot) = self else { return Err(Error::NotBindable) };
        match slot.set(binding) {
            Err(other) if slot.get() != Some(&other) => Err(Error::BoundToAnother),
            _ => Ok(()),
        }
    }

    /// Whether commands may have the network, as far as it is known now.
    pub fn network(&self) -> Network {
        self.get().map_or(Network::None, |binding| binding.network)
    }

    /// Can no command ever have the network?
    pub fn never_has_network(&self) -> bool {
        matches!(self, Self::Fixed(binding) if binding.network == Network::None)
    }
}
