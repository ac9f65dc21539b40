//! Which server to take, where a connection names several (manual, section 34.1.1.3).

/// A server that a connection may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A host name, an address, or a folder of Unix sockets where it begins with `/`.
    pub host: String,
    pub port: u16,
}

/// `target_session_attrs`: what the server has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    #[default]
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    /// A standby, and where there is none any other.
    PreferStandby,
}

impl Wanted {
    /// libpq's words, each with its meaning.
    const WORDS: [(&'static str, Self); 6] = [
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
        ("primary", Self::Primary),
        ("standby", Self::Standby),
        ("prefer-standby", Self::PreferStandby),
    ];

    pub fn parse(text: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, wanted)| *wanted)
    }

    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, wanted)| *wanted == self).map_or("any", |(word, _)| *word)
    }

    /// Whether a server will do that is in recovery, or whose sessions are read-only.
    pub fn admits(self, in_recovery: bool, read_only: bool) -> bool {
        match self {
            Self::Any => true,
            Self::ReadWrite => !in_recovery && !read_only,
            Self::ReadOnly => in_recovery || read_only,
            Self::Primary => !in_recovery,
            Self::Standby | Self::PreferStandby => in_recovery,
        }
    }
}

/// Pairs of hosts and ports: as many ports as hosts, or one for all. Lists are separated by commas.
pub fn endpoints(hosts: &str, ports: Option<&str>) -> Result<Vec<Endpoint>, String> {
    let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
    let ports: Vec<u16> = ports
        .into_iter()
        .flat_map(|ports| ports.split(','))
        .map(|text| port(text.trim()))
        .collect::<Result<_, _>>()?;
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err(format!("names {} hosts and {} ports", hosts.len(), ports.len()));
    }
    if hosts.iter().any(|host| host.is_empty()) {
        return Err("names an empty host".to_owned());
    }
    let of = |(number, host): (usize, &&str)| Endpoint {
        host: (*host).to_owned(),
        port: ports.get(number).or(ports.first()).copied().unwrap_or(5432),
    };
    Ok(hosts.iter().enumerate().map(of).collect())
}

fn port(text: &str) -> Result<u16, String> {
    if text.is_empty() {
        return Ok(5432);
    }
    let number: u64 = text.parse().map_err(|_| "`port` isn't a number".to_owned())?;
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("port {number} is out of range")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(hosts: &str, ports: Option<&str>) -> Vec<(String, u16)> {
        endpoints(hosts, ports).unwrap().into_iter().map(|end| (end.host, end.port)).collect()
    }

    #[test]
    fn hosts_and_ports_belong_together() {
        let (a, b) = ("a".to_owned(), "b".to_owned());
        assert_eq!(ends("a", None), [(a.clone(), 5432)]);
        assert_eq!(ends("a,b", Some("1")), [(a.clone(), 1), (b.clone(), 1)]);
        assert_eq!(ends("a,b", Some("1,2")), [(a.clone(), 1), (b.clone(), 2)]);
        assert_eq!(ends("a,b", Some(",2")), [(a, 5432), (b, 2)]);
        for (hosts, ports) in
            [("a", Some("1,2")), ("a,b,c", Some("1,2")), ("a,,b", None), ("a", Some("x")), ("a", Some("0"))]
        {
            assert!(endpoints(hosts, ports).is_err(), "{hosts} {ports:?}");
        }
    }

    #[test]
    fn a_server_is_what_it_says() {
        assert!(Wanted::ReadWrite.admits(false, false) && !Wanted::ReadWrite.admits(false, true));
        assert!(Wanted::Primary.admits(false, true) && !Wanted::Primary.admits(true, true));
        assert!(Wanted::Standby.admits(true, true) && !Wanted::Standby.admits(false, false));
        for (word, wanted) in Wanted::WORDS {
            assert_eq!((Wanted::parse(word), wanted.word()), (Some(wanted), word));
        }
        assert_eq!(Wanted::parse("writable"), None);
    }
}
