#[path = "../tests/common/mod.rs"]
mod common;
use common::*;
use futures::StreamExt as _;
#[tokio::main]
async fn main() {
    let rig = Rig::new().await;
    let n = 4000usize;
    for i in 0..n { rig.source.put("from", &format!("{i:06}"), bytes(4096 + (i * 7919) % 61440), &[]).unwrap(); }
    let cpu = || { let s = std::fs::read_to_string("/proc/self/stat").unwrap(); let f: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect(); (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0 };
    let effects: Vec<_> = (0..n).map(|i| rig.copy(&format!("{i:06}"))).collect();
    let (t, c) = (std::time::Instant::now(), cpu());
    let jobs: Vec<_> = effects.iter().map(|e| rig.perform(e)).collect();
    let r: Vec<_> = futures::stream::iter(jobs).buffer_unordered(32).collect().await;
    assert!(r.iter().all(|r| r.is_ok()));
    println!("{n} small: {:?} cpu {:.2}s (client and both servers)", t.elapsed(), cpu() - c);
    for i in 0..4 { rig.source.put("from", &format!("L{i}"), bytes(50 << 20), &[]).unwrap(); }
    let effects: Vec<_> = (0..4).map(|i| rig.copy(&format!("L{i}"))).collect();
    let (t, c) = (std::time::Instant::now(), cpu());
    let jobs: Vec<_> = effects.iter().map(|e| rig.perform(e)).collect();
    let r: Vec<_> = futures::stream::iter(jobs).buffer_unordered(4).collect().await;
    assert!(r.iter().all(|r| r.is_ok()));
    println!("4 x 50 MiB: {:?} cpu {:.2}s", t.elapsed(), cpu() - c);
}
