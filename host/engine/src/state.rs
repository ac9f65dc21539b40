//! The states of a step, as one total function.

use godwit_model::Error;
use godwit_model::journal::StepStatus;

/// What happens to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepEvent {
    Begin,
    Skip,
    Applied,
    Verified,
    Fail,
}

/// The status after an event; an event that doesn't fit is a fault of the engine and is said, not ignored.
pub(crate) fn next(status: StepStatus, event: StepEvent) -> Result<StepStatus, Error> {
    use StepEvent as E;
    use StepStatus as S;
    match (status, event) {
        (S::Waiting | S::Applying | S::Verifying | S::Failed, E::Begin) => Ok(S::Applying),
        (S::Waiting | S::Applying | S::Failed | S::Skipped, E::Skip) => Ok(S::Skipped),
        (S::Applying, E::Applied) => Ok(S::Verifying),
        (S::Verifying, E::Verified) => Ok(S::Complete),
        (S::Waiting | S::Applying | S::Verifying, E::Fail) => Ok(S::Failed),
        (status, event) => {
            Err(Error::host(format!("a step that is {} can't take the event {event:?}", status.name())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_step_stays_complete() {
        for event in [StepEvent::Begin, StepEvent::Skip, StepEvent::Applied, StepEvent::Verified, StepEvent::Fail] {
            assert!(next(StepStatus::Complete, event).is_err(), "{event:?}");
        }
    }

    #[test]
    fn the_way_through() {
        let mut status = StepStatus::Waiting;
        for event in [StepEvent::Begin, StepEvent::Applied, StepEvent::Verified] {
            status = next(status, event).unwrap();
        }
        assert_eq!(status, StepStatus::Complete);
        assert!(next(StepStatus::Waiting, StepEvent::Verified).is_err());
    }
}
