//! The binary `godwit`.

fn main() -> std::process::ExitCode {
    godwit_cli::main(std::env::args_os(), godwit_cli::Hooks::default())
}
