//! Room for the grammar: a text that a guest wrote must not be able to exhaust the host's stack.
//!
//! The grammar descends recursively, so a text of nested parentheses would overflow a small stack and end the whole
//! process. It runs on a thread of its own whose stack grows with the text.

use godwit_model::{Error, Fault, Result};

/// The largest query of a guest, in bytes: twice the one statement that reads all of a server's catalogs in one round trip.
/// The stack would hold what a statement may be; this bounds the time that a guest makes the host parse in.
pub const LARGEST_QUERY: usize = 128 << 10;
/// The largest statement of an effect, in bytes: a function's body is part of it.
pub const LARGEST_STATEMENT: usize = 1 << 20;
/// Nested parentheses and brackets; a server's own limit (`max_stack_depth`) is reached before.
const DEEPEST: i64 = 1000;

/// Stack for each byte of a text: a level of recursion takes less, and no level is written in less than a byte.
const STACK_PER_BYTE: usize = 2 << 10;
const LEAST_STACK: usize = 4 << 20;

/// Runs `work`, which parses `sql`, where it can't harm.
pub fn examine<T: Send>(sql: &str, limit: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let refused =
        |why: String| Err(Error::invalid(format!("{why}: {}", crate::gate::brief(sql))).fault(Fault::Plugin));
    if sql.len() > limit {
        return refused(format!(
            "a text of {} bytes is longer than the {limit} that can be examined",
            sql.len()
        ));
    }
    // Within quotes they count as well: nobody writes as many there either.
    let mut depth = 0i64;
    for byte in sql.bytes() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = (depth - 1).max(0),
            _ => {}
        }
        if depth > DEEPEST {
            return refused(format!("more than {DEEPEST} nested parentheses"));
        }
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("sql".to_owned())
            .stack_size(LEAST_STACK + STACK_PER_BYTE * sql.len())
            .spawn_scoped(scope, work)
            .map_err(|e| Error::host(format!("no thread to examine a statement: {e}")))?;
        match thread.join() {
            Ok(result) => result,
            Err(_) => refused("the grammar failed at this text".to_owned()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::admit;
    use crate::statements::{Setting, read};

    #[test]
    fn nesting_is_refused_or_survived() {
        for level in ["(", "NOT ", "- ", "CASE WHEN ", "a[", "EXISTS (SELECT ", "ARRAY[", "1 UNION SELECT "] {
            let sql = format!("SELECT {}1", level.repeat(20_000 / level.len()));
            // Whatever the answer is, it is an answer.
            let _ = admit(&sql);
            let _ = read(&sql, Setting::Atomic);
        }
        assert!(
            admit(&format!("SELECT {}1", "NOT ".repeat(100_000))).unwrap_err().message.contains("longer")
        );
        assert!(admit(&format!("SELECT {}1{}", "(".repeat(900), ")".repeat(900))).is_ok());
    }

    #[test]
    fn a_panic_of_the_grammar_is_an_error() {
        let error = examine("SELECT 1", 100, || -> Result<()> { panic!("broken") }).unwrap_err();
        assert!(error.message.contains("SELECT 1"));
    }
}
