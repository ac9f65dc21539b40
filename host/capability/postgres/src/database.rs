//! Making the database that a grant names, by way of the connection's own.

use godwit_model::capability::StepScope;
use godwit_model::effect::{Class, CreateDatabase, Done, Preparation};
use godwit_model::plugin::Grant;
use godwit_model::{Error, Result};
use serde_json::json;

use crate::place::Place;
use crate::quote::{ident, literal};

/// The database to be made.
pub fn name(grant: &Grant) -> Result<&str> {
    grant.database.as_deref().ok_or_else(|| {
        Error::invalid(format!("the grant of slot `{}` names no database to create", grant.slot))
            .hint("write the grant as {\"connection\": …, \"database\": …, \"access\": \"write\"}")
    })
}

/// `own` is the connection's own database, by way of which the other one is looked at and made.
pub async fn prepare(
    scope: &StepScope,
    own: &Place,
    grant: &Grant,
    request: &CreateDatabase,
) -> Result<Preparation> {
    let name = name(grant)?;
    let existed = exists(own, name).await?;
    let mut details = Vec::new();
    if existed {
        details.push("it exists already and stays as it is".to_owned());
    } else {
        details.push(statement(name, request));
    }
    Ok(Preparation {
        class: Class::Creates,
        irreversible: None,
        title: format!("create database {name}"),
        details,
        diff: None,
        estimate: None,
        before: json!({ "run": scope.run, "existed": existed }),
    })
}

async fn exists(own: &Place, name: &str) -> Result<bool> {
    let mut session = own.wire().await?;
    let replies = session
        .simple(&format!("SELECT 1 FROM pg_catalog.pg_database WHERE datname = {}", literal(name)))
        .await?;
    session.keep();
    Ok(replies.first().is_some_and(|reply| !reply.rows.is_empty()))
}

fn statement(name: &str, request: &CreateDatabase) -> String {
    let mut sql = format!("CREATE DATABASE {}", ident(name));
    if let Some(owner) = &request.owner {
        sql.push_str(&format!(" OWNER {}", ident(owner)));
    }
    if let Some(encoding) = &request.encoding {
        sql.push_str(&format!(" ENCODING {}", literal(encoding)));
    }
    if let Some(provider) = &request.locale_provider {
        sql.push_str(&format!(" LOCALE_PROVIDER {}", ident(provider)));
    }
    if let Some(locale) = &request.locale {
        sql.push_str(&match request.locale_provider.as_deref() {
            Some("icu") => format!(" ICU_LOCALE {}", literal(locale)),
            Some("builtin") => format!(" BUILTIN_LOCALE {}", literal(locale)),
            _ => format!(" LC_COLLATE {0} LC_CTYPE {0}", literal(locale)),
        });
    }
    if let Some(limit) = request.connection_limit {
        sql.push_str(&format!(" CONNECTION LIMIT {limit}"));
    }
    let of_its_own =
        request.encoding.is_some() || request.locale.is_some() || request.locale_provider.is_some();
    match &request.template {
        Some(template) => sql.push_str(&format!(" TEMPLATE {}", ident(template))),
        // Another template could hold text in another encoding (manual, CREATE DATABASE).
        None if of_its_own => sql.push_str(" TEMPLATE template0"),
        None => {}
    }
    sql
}

/// Makes the database unless it is there. `existed` is what was found before the intent was journalled.
pub async fn perform(
    scope: &StepScope,
    own: &Place,
    grant: &Grant,
    request: &CreateDatabase,
    existed: bool,
) -> Result<Done> {
    let name = name(grant)?;
    let mut notes = Vec::new();
    if exists(own, name).await? {
        notes.push(if existed {
            format!("database {name} was there")
        } else {
            // Nobody else had it when this effect was intended.
            format!("database {name} was made by an earlier attempt")
        });
    } else {
        let mut session = own.wire().await?;
        match session.simple(&statement(name, request)).await {
            Ok(_) => session.keep(),
            Err(failure) if failure.is("42P04") => notes.push(format!("database {name} was made meanwhile")),
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(Done {
        result: json!({ "created": !existed }),
        evidence: None,
        fingerprint: json!({ "run": scope.run, "created": !existed }),
        notes,
    })
}

/// Relations and other things in the database that aren't ours or the server's, in words.
pub async fn contents(place: &Place) -> Result<Option<Vec<String>>> {
    let mut session = match place.wire().await {
        Ok(session) => session,
        Err(e) if e.code.as_deref() == Some("3D000") => return Ok(None),
        Err(e) => return Err(e),
    };
    let sql = format!(
        "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', '{}') AND n.nspname NOT LIKE 'pg\\_%'
           AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
           AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
         ORDER BY 1",
        crate::marker::SCHEMA
    );
    let replies = session.simple(&sql).await?;
    session.end().await;
    Ok(Some(
        replies
            .into_iter()
            .flat_map(|reply| reply.rows)
            .filter_map(|row| row.into_iter().next().flatten())
            .collect(),
    ))
}

/// What may keep the database from being dropped, as it is now: what it holds, who uses it.
pub async fn foreseen(own: &Place, name: &str) -> Result<Vec<String>> {
    let mut details = vec!["only if it holds nothing by then".to_owned()];
    let Some(found) = contents(&own.beside(name)).await? else {
        return Ok(vec!["it isn't there any more".to_owned()]);
    };
    if !found.is_empty() {
        let shown: Vec<&str> = found.iter().take(10).map(String::as_str).collect();
        details.push(format!(
            "it holds {} relation{} now: {}{}; what of it this run didn't make keeps it",
            found.len(),
            if found.len() == 1 { "" } else { "s" },
            shown.join(", "),
            if found.len() > shown.len() { ", …" } else { "" }
        ));
    }
    let mut session = own.wire().await?;
    let replies = session
        .simple(&format!(
            "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = {} AND application_name NOT LIKE 'godwit/%'",
            literal(name)
        ))
        .await?;
    session.keep();
    match replies.first().and_then(|reply| reply.one()) {
        None | Some("0") => {}
        Some(count) => details.push(format!("{count} sessions of others use it now, and have to end before")),
    }
    Ok(details)
}

/// Drops the database. `discard` allows what it holds.
pub async fn drop_it(own: &Place, name: &str, discard: bool) -> Result<bool> {
    match contents(&own.beside(name)).await? {
        None => return Ok(false),
        Some(found) if !found.is_empty() && !discard => {
            let shown: Vec<&str> = found.iter().take(10).map(String::as_str).collect();
            return Err(Error::conflict(format!(
                "database {name} holds {} relations that this run didn't make or no longer knows: {}{}",
                found.len(),
                shown.join(", "),
                if found.len() > shown.len() { ", …" } else { "" }
            ))
            .hint("drop it by hand, or allow it by `--discard-later-changes all`; then resume the undo"));
        }
        Some(_) => {}
    }
    own.server.close_idle(|key| key.database == name).await;
    let mut session = own.wire().await?;
    match session.simple(&format!("DROP DATABASE {}", ident(name))).await {
        Ok(_) => {
            session.keep();
            Ok(true)
        }
        Err(failure) if failure.is("3D000") => Ok(false),
        Err(failure) => Err(failure.into()),
    }
}
