//! Passwords from a password file, as libpq finds them (manual, section 34.16 «The Password File»).

use std::fs;
use std::path::{Path, PathBuf};

use godwit_model::secret::Secret;
use godwit_model::{ConnectionName, Error, Result};

/// The lines of a password file, in order: the first one that fits counts.
#[derive(Clone, Debug, Default)]
pub struct Passfile {
    entries: Vec<Entry>,
    /// Why there is none, for whoever is asked for a password.
    pub ignored: Option<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Host, port, database, user; `None` fits all.
    fields: [Option<String>; 4],
    password: Secret,
}

impl Passfile {
    /// Reads the named file, else the one of `PGPASSFILE`, else `.pgpass` in the home folder. Only a file that was
    /// named has to be there; one that others may read is not used, as by libpq.
    pub fn read(connection: &ConnectionName, named: Option<&str>) -> Result<Self> {
        let path = match (named, default_path()) {
            (Some(named), _) => PathBuf::from(named),
            (None, Some(path)) => path,
            (None, None) => return Ok(Self::default()),
        };
        let fault = |why: String| {
            Error::invalid(format!("connection `{connection}`: passfile `{}` {why}", path.display()))
        };
        match refusal(&path) {
            Ok(None) => {}
            Ok(Some(why)) if named.is_some() => {
                return Err(fault(why).hint(format!("chmod 600 {}", path.display())));
            }
            Ok(Some(why)) => {
                return Ok(Self { ignored: Some(format!("`{}` {why}", path.display())), ..Self::default() });
            }
            Err(_) if named.is_none() => return Ok(Self::default()),
            Err(error) => return Err(fault(format!("can't be read: {error}"))),
        }
        let text = fs::read_to_string(&path).map_err(|error| fault(format!("can't be read: {error}")))?;
        Ok(Self { entries: text.lines().filter_map(Entry::parse).collect(), ignored: None })
    }

    /// The password for a session. A folder of sockets is known as `localhost`.
    pub fn find(&self, host: &str, port: u16, database: &str, user: &str) -> Option<&Secret> {
        let host = if host.starts_with('/') { "localhost" } else { host };
        let port = port.to_string();
        let wanted = [host, &port, database, user];
        let fits = |entry: &&Entry| {
            entry
                .fields
                .iter()
                .zip(wanted)
                .all(|(field, wanted)| field.as_deref().is_none_or(|f| f == wanted))
        };
        self.entries.iter().find(fits).map(|entry| &entry.password)
    }
}

fn default_path() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("PGPASSFILE").or_else(|| named("HOME").map(|home| home.join(".pgpass")))
}

/// Why a file isn't used.
fn refusal(path: &Path) -> std::io::Result<Option<String>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Ok(Some("is no plain file".to_owned()));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Ok(Some(format!("isn't used: others may read it (mode {mode:04o})")));
        }
    }
    Ok(None)
}

impl Entry {
    /// `host:port:database:user:password`, where `\` makes the next character a plain one; `None` for a comment or a
    /// line without all five.
    fn parse(line: &str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let mut fields: [Option<String>; 4] = Default::default();
        let mut rest = line;
        for field in &mut fields {
            let (value, wild, after) = take(rest)?;
            *field = (!wild).then_some(value);
            rest = after;
        }
        // The password ends with the line; a colon in it needs no backslash.
        let mut password = String::new();
        let mut characters = rest.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => password.extend(characters.next()),
                other => password.push(other),
            }
        }
        Some(Self { fields, password: Secret::new(password) })
    }
}

/// One field up to its colon: its value, whether it is `*`, and what follows.
fn take(text: &str) -> Option<(String, bool, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, next)| next)),
            ':' => return Some((value, &text[..at] == "*", &text[at + 1..])),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_counts() {
        let text = "# a comment\ndb.example.com:5432:app:u:one\n*:*:a\\:b:u:t:w\\\\o\nlocalhost:*:*:*:three\nshort:line\n";
        let file = Passfile { entries: text.lines().filter_map(Entry::parse).collect(), ignored: None };
        let find =
            |host: &str, port, database: &str| file.find(host, port, database, "u").map(Secret::expose);
        assert_eq!(find("db.example.com", 5432, "app"), Some("one"));
        assert_eq!(find("db.example.com", 5433, "app"), None);
        assert_eq!(find("other.example.com", 1, "a:b"), Some("t:w\\o"));
        assert_eq!(find("/run/postgresql", 5432, "x"), Some("three"));
        assert_eq!(file.entries.len(), 3);
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        let named = path.to_str().unwrap();
        let read = || Passfile::read(&"main".into(), Some(named));
        assert!(read().unwrap_err().message.contains("can't be read"));
        fs::write(&path, "*:*:*:*:fake-password\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = read().unwrap_err();
        assert!(refused.message.contains("others may read it") && !refused.message.contains("fake-password"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = read().unwrap();
        assert_eq!(file.find("h", 1, "d", "u").map(Secret::expose), Some("fake-password"));
        assert!(!format!("{file:?}").contains("fake-password"));
    }
}
