//! Settings by the name of a service (manual, section 34.17 «The Connection Service File»).

use std::fs;
use std::path::PathBuf;

use godwit_model::{ConnectionName, Error, Result};

/// The settings of a service, in order: from the named file, else that of `PGSERVICEFILE`, else `.pg_service.conf` in the
/// home folder, else `pg_service.conf` in the folder of `PGSYSCONFDIR`.
pub fn settings(
    connection: &ConnectionName,
    service: &str,
    named: Option<&str>,
) -> Result<Vec<(String, String)>> {
    let places: Vec<PathBuf> = match named {
        Some(named) => vec![PathBuf::from(named)],
        None => {
            let variable =
                |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            let user = variable("PGSERVICEFILE")
                .or_else(|| variable("HOME").map(|home| home.join(".pg_service.conf")));
            let system = variable("PGSYSCONFDIR").map(|folder| folder.join("pg_service.conf"));
            user.into_iter().chain(system).collect()
        }
    };
    let shown = places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
    for place in &places {
        let text = match fs::read_to_string(place) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => continue,
            Err(error) => {
                return Err(Error::invalid(format!(
                    "connection `{connection}`: servicefile `{}` can't be read: {error}",
                    place.display()
                )));
            }
        };
        let found = find(&text, service).map_err(|why| {
            Error::invalid(format!("connection `{connection}`: servicefile `{}`: {why}", place.display()))
        })?;
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(Error::missing(format!("connection `{connection}`: service `{service}` is defined nowhere"))
        .hint(format!("looked into {}", if shown.is_empty() { "no file" } else { &shown })))
}

/// The settings below `[service]`; `None` where the file doesn't have it.
fn find(text: &str, service: &str) -> std::result::Result<Option<Vec<(String, String)>>, String> {
    let mut within: Option<Vec<(String, String)>> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if within.is_some() {
                break;
            }
            let name = name
                .strip_suffix(']')
                .ok_or_else(|| format!("line {} begins a service without ending its name", number + 1))?;
            within = (name == service).then(Vec::new);
        } else if let Some(settings) = &mut within {
            let (key, value) =
                line.split_once('=').ok_or_else(|| format!("line {} has no `=`", number + 1))?;
            settings.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    Ok(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_name() {
        let text =
            "# comment\n[other]\nhost=a\n\n[app]\nhost = db.example.com\nport=6543\n# end\n[last]\nx=y\n";
        let found = find(text, "app").unwrap().unwrap();
        assert_eq!(found, [("host".into(), "db.example.com".into()), ("port".into(), "6543".into())]);
        assert_eq!(find(text, "absent").unwrap(), None);
        assert!(find("[app]\nnonsense\n", "app").unwrap_err().contains("line 2"));
        assert!(find("[app\n", "app").unwrap_err().contains("line 1"));
    }

    #[test]
    fn a_file_that_was_named_has_to_be_there_and_have_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("services");
        let read = || settings(&"main".into(), "app", path.to_str());
        assert!(read().unwrap_err().message.contains("can't be read"));
        fs::write(&path, "[other]\nhost=a\n").unwrap();
        let missing = read().unwrap_err();
        assert!(missing.message.contains("`app`") && missing.hint.unwrap().contains("services"));
        fs::write(&path, "[app]\nhost=a\n").unwrap();
        assert_eq!(read().unwrap(), [("host".to_owned(), "a".to_owned())]);
    }
}
