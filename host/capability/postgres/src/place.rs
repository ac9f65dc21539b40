//! One database behind one grant, as one step sees it.

use std::sync::Arc;

use godwit_model::capability::StepScope;
use godwit_model::plugin::Grant;
use godwit_model::{Result, RunId, StepId};

use crate::pool::{Lease, Server};

/// A database, and the name under which sessions to it are opened.
#[derive(Clone, Debug)]
pub struct Place {
    pub server: Arc<Server>,
    pub database: String,
    pub application: String,
}

impl Place {
    /// `postgres://host:port/database`.
    pub fn identity(&self) -> String {
        self.server.config.identity(&self.database)
    }

    /// An open connection outside of a transaction, or a new one.
    pub async fn wire(&self) -> Result<Lease> {
        self.server.permit().await?.wire(&self.database, &self.application).await
    }

    /// The same server's other database.
    pub fn beside(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }
}

/// The longest name that a server keeps whole (NAMEDATALEN − 1).
const LONGEST_NAME: usize = 63;

/// `godwit/<run>/<step>/<process>`: a resumed run finds the sessions of its former process by it.
pub fn application(run: &RunId, step: &str, process: &str) -> String {
    let room = LONGEST_NAME.saturating_sub("godwit///".len() + run.as_str().len() + process.len());
    // Servers keep ASCII alone.
    let step: String =
        step.chars().map(|c| if c.is_ascii_graphic() && c != '/' { c } else { '_' }).take(room).collect();
    format!("godwit/{run}/{step}/{process}")
}

/// What an application name of any process of this run begins with.
pub fn application_prefix(run: &RunId) -> String {
    format!("godwit/{run}/")
}

/// Turns secret tokens of a statement into values, where the grant names them.
pub fn reveal(scope: &StepScope, grant: &Grant, sql: &str) -> Result<String> {
    scope.secrets.reveal(sql, Some(&grant.secrets)).map_err(|name| {
        godwit_model::Error::denied(format!(
            "step `{}` writes secret `{name}` through slot `{}`, which isn't granted",
            scope.step, grant.slot
        ))
        .hint(format!("add \"secrets\": [\"{name}\"] to the grant of `{}`", grant.slot))
    })
}

/// A step within a run.
pub type StepKey = (RunId, StepId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_names_fit_and_keep_the_process() {
        let run = RunId::from("20240101-120000-abcd");
        let name =
            application(&run, "a-very-long-step-name[with a key that goes on and on]/ünïcode", "0f0f0f");
        assert_eq!(name.len(), LONGEST_NAME);
        assert!(name.starts_with(&application_prefix(&run)) && name.ends_with("/0f0f0f"));
        assert_eq!(application(&run, "copy", "0f0f0f"), "godwit/20240101-120000-abcd/copy/0f0f0f");
    }
}
