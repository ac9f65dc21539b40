//! What goes wrong, on which side, and what may come of it.

use godwit_lab::s3::{Fault, Injection};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    Source,
    Target,
}

/// What becomes of the work under a fault that goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// It goes through.
    Right,
    /// It may fail; what it says names the object.
    Named,
    /// One object at least fails, by name.
    Fails,
}

pub type Row = (Side, Injection, End);

pub const OFTEN: u32 = 200;

/// What may befall any request: bursts of refusals with and without `Retry-After`, silence, resets; each passes, or goes
/// on and ends in an error.
pub fn of_any(side: Side, operations: &[&'static str]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for operation in operations {
        for fault in [
            Fault::Unavailable { times: 2 },
            Fault::InternalError { times: 2 },
            Fault::TooManyRequests { times: 2 },
            Fault::RetryAfter { status: 503, seconds: 1, times: 1 },
            Fault::RetryAfter { status: 429, seconds: 1, times: 1 },
            Fault::HalfOpen { millis: Some(50), times: 1 },
            Fault::HalfOpen { millis: None, times: 1 },
            Fault::ResetConnection { after_bytes: 0, times: 1 },
        ] {
            rows.push((side, fault.on(operation), End::Right));
        }
        rows.push((side, Fault::InternalError { times: OFTEN }.on(operation), End::Fails));
        rows.push((side, Fault::HalfOpen { millis: None, times: OFTEN }.on(operation), End::Fails));
    }
    rows
}

/// An answer to a request that changes something is lost: the connection ends, or stays and says nothing.
pub fn of_answers(side: Side, operations: &[&'static str]) -> Vec<Row> {
    let lost = [Fault::LoseCompleteAnswer { times: 1 }, Fault::SwallowAnswer { times: 1 }];
    operations.iter().flat_map(|on| lost.map(|fault| (side, fault.on(on), End::Right))).collect()
}
