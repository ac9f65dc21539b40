//! `raw-put SET SHARE`: the floor of `cargo xtask bench objects`, as a process whose CPU time can be told. The store is in
//! the environment: `STORE_ENDPOINT`, `STORE_REGION`, `STORE_ACCESS_KEY`, `STORE_SECRET_KEY`.

use std::process::ExitCode;

use godwit_tests::bench::objects::{Set, Store, put};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let set = arguments.first().and_then(|name| Set::named(name));
    let share = arguments.get(1).and_then(|text| text.parse().ok());
    let (Some(set), Some(share)) = (set, share) else {
        eprintln!("usage: raw-put SET SHARE");
        return ExitCode::from(2);
    };
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let store = Store {
        endpoint: of("STORE_ENDPOINT"),
        region: of("STORE_REGION"),
        access_key: of("STORE_ACCESS_KEY"),
        secret_key: of("STORE_SECRET_KEY"),
    };
    match put(&store, set, share) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
