//! `s3-server [--folder DIR] [--region REGION] [--bucket NAME]… [--set SET --share N] [--discard yes]`: the lab's S3 server
//! as a process of its own, so that a client's CPU time can be told apart. Prints its endpoint, region and keys as one line of JSON
//! once it listens and holds the set, and ends when its stdin does.

use std::io::Read;
use std::process::ExitCode;

use godwit_lab::s3::S3Server;
use godwit_tests::bench::objects::Set;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("s3-server: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut builder = S3Server::builder().unlogged();
    let (mut buckets, mut set, mut share) = (Vec::new(), None, 1);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} takes a value"))?;
        match argument.as_str() {
            "--folder" => builder = builder.folder(value),
            "--discard" if value == "yes" => builder = builder.discards(),
            "--region" => builder = builder.region(value),
            "--bucket" => buckets.push(value),
            "--set" => set = Some(Set::named(&value).ok_or_else(|| format!("there is no set {value}"))?),
            "--share" => share = value.parse().map_err(|_| format!("--share {value}"))?,
            other => return Err(format!("there is no {other}")),
        }
    }
    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    let server = runtime.block_on(builder.start()).map_err(|e| e.to_string())?;
    for bucket in buckets {
        server.create_bucket(&bucket).map_err(|e| e.to_string())?;
    }
    if let Some(set) = set {
        set.fill(&server, share)?;
    }
    println!(
        "{}",
        serde_json::json!({
            "endpoint": server.endpoint(),
            "region": server.region(),
            "access_key": server.access_key(),
            "secret_key": server.secret_key(),
        })
    );
    // Whoever started it holds the other end, and ends it however he ends.
    std::io::stdin().read_to_end(&mut Vec::new()).map_err(|e| e.to_string())?;
    Ok(())
}
