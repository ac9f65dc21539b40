//! Databases with every kind of object that PostgreSQL has, in scripts for `psql`, with the corners at which copies go
//! wrong. PostgreSQL 15 and up; superusers only.

use crate::postgres::Major;

const EVERY: &str = include_str!("kinds/every-kind.sql");
const SINCE_18: &str = include_str!("kinds/since-18.sql");

/// What [`every`] lacks; comes after it.
pub const OTHERS: &str = include_str!("kinds/other-kinds.sql");

/// Owners and privileges over both of them, for these roles, which the server has to have.
pub const RIGHTS: &str = include_str!("kinds/rights.sql");
pub const ROLES: [&str; 3] = ["reader", "\"Odd role\"", "owner_one"];

/// One of each common kind, with rows, in schemas of its own. Without `vectors` there are arrays in their place: Debian's
/// 15 has no pgvector.
pub fn every(vectors: bool) -> String {
    if vectors {
        return EVERY.to_owned();
    }
    EVERY
        .lines()
        .filter(|line| !line.contains("EXTENSION vector") && !line.contains("users_embedding"))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("embedding vector(3)", "embedding float4[]")
        .replace("('[' || i || ',0,1]')::vector", "ARRAY[i, 0, 1]::float4[]")
}

/// All kinds that servers of both majors have; comes in an empty database.
pub fn all(source: Major, target: Major) -> String {
    let older = source.min(target);
    let newest = if older >= Major::V18 { SINCE_18 } else { "" };
    format!("{}\n{newest}\n{OTHERS}", every(older > Major::V15))
}
