//! target status, target release.

use std::collections::BTreeMap;
use std::sync::Arc;

use godwit_model::capability::Connection;
use godwit_model::plugin::{Access, ConnectionKind, Grant};
use godwit_model::secret::{Secret, Secrets};
use godwit_model::{ConnectionName, Error, Json, Result, RunId, SlotName};
use godwit_postgres::Postgres;

use super::Context;
use crate::args::{TargetArgs, TargetCommand};
use crate::output::{Exit, ask, complain, note, say, say_json};
use crate::wiring::Refused;

pub async fn dispatch(context: &Context, command: TargetCommand) -> Result<Exit, Refused> {
    match command {
        TargetCommand::Status(target) => status(context, &target).await,
        TargetCommand::Release { target, run, yes } => release(context, &target, &run, yes).await,
    }
}

/// The capability and a grant for the one database that the argument names.
fn open(target: &TargetArgs) -> Result<(Postgres, Grant)> {
    if !target.url.starts_with("postgres://") && !target.url.starts_with("postgresql://") {
        return Err(Error::invalid("the target isn't a postgres:// URL")
            .hint("godwit target status postgres://USER@db.example.com:5432/app"));
    }
    let mut secrets = Secrets::default();
    let token = secrets.insert(&RunId::new("target"), "target_url", Secret::new(&target.url));
    let connection = Connection {
        name: ConnectionName::new("target"),
        kind: ConnectionKind::Postgres,
        settings: BTreeMap::from([("url".to_owned(), Json::String(token))]),
        secrets: Arc::new(secrets),
    };
    let grant = Grant {
        slot: SlotName::new("target"),
        connection: ConnectionName::new("target"),
        kind: ConnectionKind::Postgres,
        access: Access::Write,
        database: None,
        secrets: Vec::new(),
    };
    Ok((Postgres::new(vec![connection])?, grant))
}

async fn status(context: &Context, target: &TargetArgs) -> Result<Exit, Refused> {
    let (postgres, grant) = open(target)?;
    let markers = postgres.target_status(&grant).await?;
    if context.json {
        say_json(&markers);
        return Ok(Exit::Done);
    }
    if markers.is_empty() {
        say("no run has markers here");
    }
    for marker in markers {
        say(&format!(
            "run {} from {} since {}: {} effect(s) marked",
            marker.run, marker.host, marker.started_at, marker.effects
        ));
    }
    Ok(Exit::Done)
}

async fn release(context: &Context, target: &TargetArgs, run: &str, yes: bool) -> Result<Exit, Refused> {
    let (postgres, grant) = open(target)?;
    let run = RunId::new(run);
    if !yes {
        let question = format!("remove the markers of run {run}? It can't be resumed safely then");
        match ask(&question) {
            Some(true) => {}
            Some(false) => {
                note("nothing was removed");
                return Ok(Exit::Stopped);
            }
            None => {
                complain(
                    "there is no terminal to ask on, so nothing was removed",
                    Some("`--yes` answers beforehand"),
                );
                return Ok(Exit::Usage);
            }
        }
    }
    let removed = postgres.target_release(&grant, Some(&run)).await?;
    if context.json {
        say_json(&serde_json::json!({ "removed": removed }));
    } else {
        say(removed.as_deref().unwrap_or("that run has no markers here"));
    }
    Ok(Exit::Done)
}
