//! What happens to a copy when servers, networks and other people get in its way. Each fault ends in a retry that
//! succeeds, or in an error that names it; then the target is said to be incomplete, and a resume completes it.

mod cut;
mod pair;
mod pooled;
mod refused;
mod repair;
mod standby;
mod waiting;
