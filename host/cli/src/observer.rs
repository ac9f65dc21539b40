//! Watching a run from a terminal, or from a pipe.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use godwit_engine::{Answer, Event, Observer, Question};
use godwit_model::StepId;
use godwit_model::check::Verdict;
use godwit_model::plugin::Level;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::{Style, ask, note};
use crate::progress::StepProgress;

/// Shows events on stderr: bars on a terminal, a line per step elsewhere.
pub struct Watcher {
    bars: Option<MultiProgress>,
    /// Says nothing but warnings and questions.
    quiet: bool,
    verbose: bool,
    /// Answers cut-overs with yes.
    yes: bool,
    style: Style,
    steps: Mutex<BTreeMap<StepId, Watched>>,
}

/// A step and its line on the terminal.
struct Watched {
    bar: Option<ProgressBar>,
    progress: StepProgress,
    /// When the line was written last.
    shown: Option<Instant>,
}

/// Events come by the ten thousand in a second, and a line is read by eyes.
const REDRAWN: Duration = Duration::from_millis(60);

impl Watcher {
    pub fn new(json: bool, verbose: bool, yes: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !json;
        Self {
            bars: terminal.then(MultiProgress::new),
            quiet: json,
            verbose,
            yes,
            style: Style::stderr(),
            steps: Mutex::default(),
        }
    }

    /// Watches a plan: only plugin logs matter.
    pub fn for_plan(json: bool, verbose: bool) -> Self {
        Self { bars: None, ..Self::new(json, verbose, false) }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            // Through the bars, so that a redraw doesn't overwrite it.
            Some(bars) => {
                let _ = bars.println(text);
            }
            None => note(text),
        }
    }

    fn with_step(&self, step: &StepId, change: impl FnOnce(&mut StepProgress)) {
        let mut steps = self.steps.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let watched = steps.entry(step.clone()).or_insert_with(|| Watched {
            bar: self.bars.as_ref().map(|bars| {
                let bar = bars.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:.bold} {wide_msg}") {
                    bar.set_style(style);
                }
                bar.set_prefix(step.to_string());
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            }),
            progress: StepProgress::new(Instant::now()),
            shown: None,
        });
        change(&mut watched.progress);
        if let Some(bar) = &watched.bar {
            let now = Instant::now();
            if watched.shown.is_none_or(|shown| now.saturating_duration_since(shown) >= REDRAWN) {
                watched.shown = Some(now);
                bar.set_message(watched.progress.message(now));
            }
        }
    }

    fn end_step(&self, step: &StepId, mark: &str, word: &str) {
        let mut steps = self.steps.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let summary = match steps.remove(step) {
            Some(watched) => {
                if let Some(bar) = &watched.bar {
                    bar.finish_and_clear();
                }
                watched.progress.summary(Instant::now())
            }
            None => String::new(),
        };
        drop(steps);
        if !self.quiet {
            self.line(&format!("{mark} {step} {word}{summary}"));
        }
    }
}

#[async_trait]
impl Observer for Watcher {
    fn event(&self, event: Event) {
        match event {
            Event::StepStarted { step, plugin } => {
                if !self.quiet && self.bars.is_none() {
                    note(&format!("  {step} ({plugin}) …"));
                }
                self.with_step(&step, |_| {});
            }
            Event::StepSkipped { step } => {
                if !self.quiet {
                    self.line(&format!("- {step} skipped: its `when` is false"));
                }
            }
            Event::Log { step, level, message } => {
                if level == Level::Warn || self.verbose || (level == Level::Info && !self.quiet) {
                    let word = match level {
                        Level::Warn => self.style.yellow("warning: "),
                        Level::Info | Level::Debug => String::new(),
                    };
                    self.line(&format!("  {step}: {word}{message}"));
                }
            }
            Event::Progress { step, label, done, total, unit } => {
                let of = total.map(|total| format!("/{total}")).unwrap_or_default();
                self.with_step(&step, |progress| progress.says(format!("{label} {done}{of} {unit}")));
            }
            Event::Transferred { step, label, items, bytes } => {
                self.with_step(&step, |progress| progress.transferred(&label, items, bytes, Instant::now()));
            }
            Event::EffectAsked { step, key, transfer, estimate, from_journal } => {
                self.with_step(&step, |progress| progress.asked(key, transfer, estimate, from_journal));
            }
            Event::EffectStarted { step, key, title } => {
                self.with_step(&step, |progress| progress.started(&key, title));
            }
            Event::EffectDone { step, key, notes } => {
                self.with_step(&step, |progress| progress.ended(&key));
                for text in notes {
                    self.line(&format!("  {step}: {key}: {text}"));
                }
            }
            Event::EffectFailed { step, key, error } => {
                self.with_step(&step, |progress| progress.failed(&key));
                self.line(&format!("  {step}: {} {key}: {error}", self.style.red("failed")));
            }
            Event::EffectRetried { step, key, error, attempt } => {
                self.with_step(&step, StepProgress::retried);
                let word = self.style.yellow("trying again");
                self.line(&format!("  {step}: {word} after attempt {attempt} at {key}: {error}"));
            }
            Event::Verifying { step } => {
                self.with_step(&step, StepProgress::verifying);
            }
            Event::Checked { step, checks } => {
                for check in checks {
                    match check.verdict {
                        Verdict::Failed(why) => self.line(&format!(
                            "  {step}: check {} {}: {why}",
                            check.name,
                            self.style.red("failed")
                        )),
                        Verdict::NotComparable(why) => {
                            self.line(&format!("  {step}: check {} proves nothing: {why}", check.name));
                        }
                        Verdict::Passed => {}
                    }
                }
            }
            Event::StepCompleted { step } => self.end_step(&step, &self.style.green("✓"), "complete"),
            Event::StepFailed { step, .. } => self.end_step(&step, &self.style.red("✗"), "failed"),
            Event::UndoDone { step, title, .. } => {
                if !self.quiet {
                    self.line(&format!("{} {step}: {title}", self.style.green("↶")));
                }
            }
            Event::Cleanup { what } => {
                if self.verbose {
                    self.line(&format!("  {what}"));
                }
            }
        }
    }

    async fn ask(&self, question: &Question) -> Answer {
        let text = match question {
            Question::Unplanned { step, key, preparation } => {
                // `--yes` accepted the plan; this was not in it.
                let mut text = format!(
                    "step {step} wants an effect that was not in the plan and that overwrites, destroys or can't be undone:\n  {key}: {}\n",
                    preparation.title
                );
                for detail in &preparation.details {
                    text.push_str(&format!("    {detail}\n"));
                }
                text + "do it?"
            }
            Question::Cutover { .. } if self.yes => return Answer::Yes,
            Question::Cutover { step } => {
                format!("every earlier step is verified; cut over now with step {step}?")
            }
        };
        let answer = match &self.bars {
            Some(bars) => bars.suspend(|| ask(&text)),
            None => ask(&text),
        };
        if answer == Some(true) { Answer::Yes } else { Answer::No }
    }
}
