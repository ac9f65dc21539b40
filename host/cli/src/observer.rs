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

use crate::output::{Style, ask, bytes, note};

/// Shows events on stderr: bars on a terminal, a line per step elsewhere.
pub struct Watcher {
    bars: Option<MultiProgress>,
    /// Says nothing but warnings and questions.
    quiet: bool,
    verbose: bool,
    /// Answers cut-overs with yes.
    yes: bool,
    style: Style,
    steps: Mutex<BTreeMap<StepId, StepProgress>>,
}

struct StepProgress {
    bar: Option<ProgressBar>,
    began: Instant,
    started: u64,
    ended: u64,
    items: u64,
    bytes: u64,
    latest: String,
}

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
        let progress = steps.entry(step.clone()).or_insert_with(|| StepProgress {
            bar: self.bars.as_ref().map(|bars| {
                let bar = bars.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:.bold} {wide_msg}") {
                    bar.set_style(style);
                }
                bar.set_prefix(step.to_string());
                bar.enable_steady_tick(Duration::from_millis(120));
                bar
            }),
            began: Instant::now(),
            started: 0,
            ended: 0,
            items: 0,
            bytes: 0,
            latest: String::new(),
        });
        change(progress);
        if let Some(bar) = &progress.bar {
            bar.set_message(progress.message());
        }
    }

    fn end_step(&self, step: &StepId, mark: &str, word: &str) {
        let mut steps = self.steps.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let summary = match steps.remove(step) {
            Some(progress) => {
                if let Some(bar) = &progress.bar {
                    bar.finish_and_clear();
                }
                progress.summary()
            }
            None => String::new(),
        };
        drop(steps);
        if !self.quiet {
            self.line(&format!("{mark} {step} {word}{summary}"));
        }
    }
}

impl StepProgress {
    fn message(&self) -> String {
        let mut parts = Vec::new();
        if self.started > 0 {
            parts.push(format!("{}/{} effects", self.ended, self.started));
        }
        if self.items > 0 {
            let seconds = self.began.elapsed().as_secs_f64().max(0.001);
            parts.push(format!(
                "{} items, {}, {}/s",
                self.items,
                bytes(self.bytes),
                bytes((self.bytes as f64 / seconds) as u64)
            ));
        }
        if !self.latest.is_empty() {
            parts.push(self.latest.clone());
        }
        parts.join(" · ")
    }

    fn summary(&self) -> String {
        let mut out = format!(" in {:.1} s", self.began.elapsed().as_secs_f64());
        if self.ended > 0 {
            out.push_str(&format!(", {} effects", self.ended));
        }
        if self.items > 0 {
            out.push_str(&format!(", {} items, {}", self.items, bytes(self.bytes)));
        }
        out
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
                self.with_step(&step, |progress| progress.latest = format!("{label} {done}{of} {unit}"));
            }
            Event::Transferred { step, label, items, bytes } => self.with_step(&step, |progress| {
                progress.items += items;
                progress.bytes += bytes;
                progress.latest = label;
            }),
            Event::EffectStarted { step, title, .. } => self.with_step(&step, |progress| {
                progress.started += 1;
                progress.latest = title;
            }),
            Event::EffectDone { step, key, notes, from_journal } => {
                self.with_step(&step, |progress| {
                    progress.ended += 1;
                    if from_journal {
                        progress.started += 1;
                    }
                });
                for text in notes {
                    self.line(&format!("  {step}: {key}: {text}"));
                }
            }
            Event::EffectFailed { step, key, error } => {
                self.with_step(&step, |progress| progress.ended += 1);
                self.line(&format!("  {step}: {} {key}: {error}", self.style.red("failed")));
            }
            Event::EffectRetried { step, key, error, attempt } => {
                let word = self.style.yellow("trying again");
                self.line(&format!("  {step}: {word} after attempt {attempt} at {key}: {error}"));
            }
            Event::Verifying { step } => {
                self.with_step(&step, |progress| progress.latest = "verifying".to_owned());
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
