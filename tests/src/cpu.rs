//! CPU time, which neighbours on the machine don't change as they change the time on the wall.

use std::time::Duration;

/// CPU time of the calling thread.
pub fn of_thread() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of this process, with all its threads.
pub fn of_process() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// CPU time of the children that this process has waited for, and of theirs.
pub fn of_children() -> Duration {
    // SAFETY: any bits are a value of this struct of numbers, and `getrusage` writes to it and nothing else.
    #[allow(unsafe_code)]
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let of = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// CPU time of the living threads of this process whose names begin so (Linux, `/proc/PID/task/TID/schedstat`, whose
/// first field is the time on a CPU in nanoseconds). Zero where the kernel doesn't tell.
pub fn of_threads(name: &str) -> Duration {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let spent = |task: std::path::PathBuf| {
        let named = std::fs::read_to_string(task.join("comm")).ok()?;
        let line = std::fs::read_to_string(task.join("schedstat")).ok()?;
        let spent: u64 = line.split_whitespace().next()?.parse().ok()?;
        named.starts_with(name).then(|| Duration::from_nanos(spent))
    };
    tasks.flatten().filter_map(|task| spent(task.path())).sum()
}

fn clock(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `clock_gettime` writes to the given struct and nothing else.
    #[allow(unsafe_code)]
    let answer = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(answer, 0, "this system has no such clock");
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_count_work_and_no_sleep() {
        let (thread, process) = (of_thread(), of_process());
        std::thread::sleep(Duration::from_millis(300));
        let slept = of_thread().saturating_sub(thread);
        let mut sum = 0_u64;
        while of_thread().saturating_sub(thread + slept) < Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(slept < Duration::from_millis(200), "{slept:?}");
        assert!(of_process().saturating_sub(process) >= Duration::from_millis(20));
        let named = std::thread::current().name().unwrap_or_default().to_owned();
        assert!(of_threads(&named[..8.min(named.len())]) > Duration::ZERO || !cfg!(target_os = "linux"));
        assert_eq!(of_threads("no thread is called so"), Duration::ZERO);
    }
}
