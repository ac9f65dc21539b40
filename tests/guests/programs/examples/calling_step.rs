//! Calls the host as often as its params say, to measure what a call costs.

use godwit_sdk::prelude::*;

struct Calling;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    call: Call,
    times: u32,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Call {
    Mode,
    Granted,
}

/// How often the host answered as it should.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Outputs {
    answered: u32,
}

impl Step for Calling {
    const NAME: &str = "calling-step";
    const VERSION: &str = "1.0.0";
    const SUMMARY: &str = "a guest for tests";
    type Params = Params;
    type Outputs = Outputs;

    fn slots() -> Vec<Slot> {
        vec![Slot::new("files", ConnectionKind::Dir, Access::Read, "a folder")]
    }

    fn apply<H: Host>(host: &H, params: Params) -> Result<Outputs> {
        let is_answered = |_: &u32| match params.call {
            Call::Mode => host.mode() == Mode::Apply,
            Call::Granted => host.granted("files").is_some(),
        };
        let answered = (0..params.times).filter(is_answered).count();
        Ok(Outputs { answered: u32::try_from(answered).unwrap_or(u32::MAX) })
    }

    fn verify<H: Host>(_host: &H, _params: Params, _outputs: Outputs) -> Result<Vec<Check>> {
        Ok(Vec::new())
    }
}

godwit_sdk::export_step!(Calling);
