//! What the server remembers of a client between commands.

use crate::auth::{Master, Scope};
use crate::state::Watched;

/// State of one client.
pub struct Session {
    pub id: u64,
    pub scope: Option<Scope>,
    pub name: Vec<u8>,
    pub transaction: Option<Transaction>,
    /// Keys that must not change before EXEC.
    pub watched: Watched,
    /// Set by QUIT and by protocol errors: replies are sent, then the connection ends.
    pub closing: bool,
}

/// Commands between MULTI and EXEC.
#[derive(Default)]
pub struct Transaction {
    pub commands: Vec<Vec<Vec<u8>>>,
    pub bytes: usize,
    /// A command was refused while queueing, so EXEC must run none.
    pub failed: bool,
}

impl Session {
    #[must_use]
    pub fn new(id: u64, scope: Option<Scope>) -> Self {
        Self { id, scope, name: Vec::new(), transaction: None, watched: Watched::new(), closing: false }
    }

    /// Takes on what `token` opens; false, and no change, if it is not valid.
    pub fn authenticate(&mut self, master: &Master, token: &[u8]) -> bool {
        let scope = master.scope(token);
        let valid = scope.is_some();
        if valid {
            self.scope = scope;
        }
        valid
    }
}
