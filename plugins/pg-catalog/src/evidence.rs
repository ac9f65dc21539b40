//! Comparing transfers by their evidence: what was sent against what the sink holds.

use godwit_sdk::host::Host;
use godwit_sdk::types::{Check, Error, Evidence, Result};

/// The algorithm whose digests add up modulo 2^128 (WIT, `types.evidence`).
const SUMMABLE: &str = "rows-xxh3-128";

/// The rows that one or several transfers sent into one table, against what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    pub transfers: usize,
    /// Rows that were sent, as far as there is evidence.
    pub rows: u64,
    /// The digest of what was sent, where there is one for all of it.
    pub digest: Option<String>,
    pub finding: Finding,
}

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Alike,
    /// As many rows, with another digest.
    Different {
        there: String,
    },
    /// Another number of rows.
    Count {
        there: u64,
    },
    /// As many rows, and no digests that could be compared.
    CountAlone(Incomparable),
    /// The transfer of this key isn't done.
    Unsent {
        key: String,
    },
    /// The sink is gone.
    Gone {
        why: String,
    },
}

/// Why digests can't be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incomparable {
    NoDigest,
    /// They were made in two ways, named here.
    Algorithms {
        sent: String,
        there: String,
    },
    /// Those of several transfers don't add up under this algorithm.
    NotSummable(String),
}

/// Transfers whose sinks are read again at once.
const AT_ONCE: usize = 256;

/// Compares, for each table, the rows that the transfers of these keys sent into it with what is there. Tables are read
/// several at once.
pub fn compare<H: Host>(host: &H, tables: &[Vec<String>]) -> Result<Vec<Comparison>> {
    let mut compared = Vec::with_capacity(tables.len());
    for tables in tables.chunks(AT_ONCE) {
        let sent = tables.iter().map(|keys| sent(host, keys)).collect::<Result<Vec<_>>>()?;
        let sinks: Vec<&str> = sent
            .iter()
            .zip(tables)
            .filter(|(sent, _)| sent.is_ok())
            .flat_map(|(_, keys)| keys.iter().map(String::as_str))
            .collect();
        let mut found = host.observe(&sinks).into_iter();
        for (sent, keys) in sent.into_iter().zip(tables) {
            let sent = match sent {
                Ok(sent) => sent,
                Err(unsent) => {
                    compared.push(unsent);
                    continue;
                }
            };
            let mut there = Vec::with_capacity(keys.len());
            let mut gone = None;
            for key in keys {
                match found.next() {
                    Some(Err(Error::Missing(why))) => gone = Some(why),
                    Some(observed) => there.push(observed?),
                    None => return Err(Error::Failed(format!("the host observed nothing of `{key}`"))),
                }
            }
            let finding = match (gone, together(&sent, there)) {
                (Some(why), _) => Finding::Gone { why },
                (None, Some(there)) => finding(&sent, there),
                (None, None) => Finding::Alike,
            };
            compared.push(Comparison::of(&sent, keys.len(), finding));
        }
    }
    Ok(compared)
}

/// What is there of several transfers into one table. Each is observed by itself where its table held rows before it came,
/// and else with all that is there by now: then one of them has more than it sent, and tells it all.
fn together(sent: &[Evidence], there: Vec<Evidence>) -> Option<Evidence> {
    let whole = there.iter().zip(sent).position(|(there, sent)| there.items > sent.items);
    match (whole, there.as_slice()) {
        (_, []) => None,
        (Some(whole), _) => there.into_iter().nth(whole),
        (None, [_]) => there.into_iter().next(),
        (None, parts) => Some(Evidence {
            items: rows_of(parts),
            bytes: parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes)),
            digest: total(parts).unwrap_or_default(),
        }),
    }
}

/// What each transfer sent, or the comparison that says which of them isn't done.
fn sent<H: Host>(host: &H, keys: &[String]) -> Result<std::result::Result<Vec<Evidence>, Comparison>> {
    let mut sent = Vec::with_capacity(keys.len());
    for key in keys {
        match host.evidence(key)? {
            Some(evidence) => sent.push(evidence),
            None => {
                return Ok(Err(Comparison::of(&sent, keys.len(), Finding::Unsent { key: key.clone() })));
            }
        }
    }
    Ok(Ok(sent))
}

fn finding(sent: &[Evidence], there: Evidence) -> Finding {
    match total(sent) {
        _ if rows_of(sent) != there.items => Finding::Count { there: there.items },
        Err(why) => Finding::CountAlone(why),
        Ok(_) if there.digest.is_empty() => Finding::CountAlone(Incomparable::NoDigest),
        Ok(digest) if algorithm(&digest) != algorithm(&there.digest) => {
            let [sent, there] = [&digest, &there.digest].map(|digest| algorithm(digest).to_owned());
            Finding::CountAlone(Incomparable::Algorithms { sent, there })
        }
        Ok(digest) if digest == there.digest => Finding::Alike,
        Ok(_) => Finding::Different { there: there.digest },
    }
}

fn rows_of(sent: &[Evidence]) -> u64 {
    sent.iter().fold(0, |sum, evidence| sum.saturating_add(evidence.items))
}

/// One digest for all of several transfers.
fn total(sent: &[Evidence]) -> std::result::Result<String, Incomparable> {
    if sent.iter().any(|evidence| evidence.digest.is_empty()) {
        return Err(Incomparable::NoDigest);
    }
    if let [alone] = sent {
        return Ok(alone.digest.clone());
    }
    let mut sum = 0_u128;
    for evidence in sent {
        let number = evidence.digest.strip_prefix(SUMMABLE).and_then(|rest| rest.strip_prefix(':'));
        let number = number.and_then(|hex| u128::from_str_radix(hex, 16).ok());
        let why = || Incomparable::NotSummable(algorithm(&evidence.digest).to_owned());
        sum = sum.wrapping_add(number.ok_or_else(why)?);
    }
    Ok(format!("{SUMMABLE}:{sum:032x}"))
}

impl Comparison {
    fn of(sent: &[Evidence], transfers: usize, finding: Finding) -> Self {
        let digest = if sent.len() == transfers { total(sent).ok() } else { None };
        Self { transfers, rows: rows_of(sent), digest: digest.filter(|_| transfers > 0), finding }
    }

    /// The verdict, as a check named after the table.
    pub fn check(&self, table: &str) -> Check {
        let name = format!("rows of {table}");
        let by = match self.transfers {
            1 => String::new(),
            several => format!(" by {several} transfers"),
        };
        let counted = format!("{} rows{by}", self.rows);
        let digest = self.digest.as_deref().map(short);
        let detail = match &digest {
            Some(digest) => format!("{counted}, digest {digest}"),
            None => counted.clone(),
        };
        match &self.finding {
            Finding::Alike => Check::passed(name).detail(detail),
            Finding::Different { there } => {
                let sent = digest.unwrap_or_default();
                let why = format!("the rows differ: digest {sent} was sent, there are now {}", short(there));
                Check::failed(name, why).detail(detail)
            }
            Finding::Count { there } => {
                Check::failed(name, format!("{} rows were sent, there are now {there}", self.rows))
            }
            Finding::CountAlone(why) => Check::not_comparable(name, why.to_string()).detail(counted),
            Finding::Unsent { key } => {
                let why = format!("the transfer `{key}` has left no evidence; resume the run");
                Check::failed(name, why)
            }
            Finding::Gone { why } => Check::failed(name, why.clone()),
        }
    }
}

impl std::fmt::Display for Incomparable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let alone = "only the number of rows was compared";
        match self {
            Self::NoDigest => write!(f, "the transfer has no digest; {alone}"),
            Self::Algorithms { sent, there } => {
                write!(
                    f,
                    "the transfer's digest is by `{sent}`, that of the rows there by `{there}`; {alone}"
                )
            }
            Self::NotSummable(algorithm) => {
                write!(f, "digests by `{algorithm}` of several transfers don't add up; {alone}")
            }
        }
    }
}

/// What was sent by one transfer for each table against what its sink holds: checks named after the tables.
pub fn rows<H: Host>(host: &H, tables: &[(String, String)]) -> Result<Vec<Check>> {
    let keys: Vec<Vec<String>> = tables.iter().map(|(_, key)| vec![key.clone()]).collect();
    let compared = compare(host, &keys)?;
    Ok(compared.iter().zip(tables).map(|(found, (table, _))| found.check(table)).collect())
}

fn algorithm(digest: &str) -> &str {
    digest.split_once(':').map_or(digest, |(algorithm, _)| algorithm)
}

/// The algorithm and the first digits of a digest.
pub fn short(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hex)) => format!("{algorithm}:{}", hex.get(..12).unwrap_or(hex)),
        None => digest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(digest: &str) -> Evidence {
        Evidence { items: 1, bytes: 1, digest: digest.to_owned() }
    }

    #[test]
    fn sums_wrap_around_and_keep_to_one_algorithm() {
        let top = evidence("rows-xxh3-128:ffffffffffffffffffffffffffffffff");
        let two = evidence("rows-xxh3-128:00000000000000000000000000000002");
        let one = "rows-xxh3-128:00000000000000000000000000000001";
        assert_eq!(total(&[top.clone(), two.clone()]).as_deref(), Ok(one));
        assert_eq!(total(&[evidence("sha256:00")]).as_deref(), Ok("sha256:00"));
        let other = total(&[top.clone(), evidence("sha256:00")]);
        assert_eq!(other, Err(Incomparable::NotSummable("sha256".to_owned())));
        // A longer name that begins alike is another algorithm.
        assert!(total(&[two.clone(), evidence("rows-xxh3-128b:01")]).is_err());
        assert_eq!(total(&[two, evidence("")]), Err(Incomparable::NoDigest));
    }
}
