//! What a person reads: faults, plans, reports.

use std::fmt::Write as _;

use godwit_engine::{Plan, Report, StepPlanStatus, UndoPlan};
use godwit_model::check::Verdict;
use godwit_model::effect::{Class, Preparation};
use godwit_recipe::{Diagnostic, Source};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Severity};

use crate::output::{Style, bytes};

/// Faults with file, line, column, a caret and a hint.
pub fn faults(source: &Source, faults: &[Diagnostic], coloured: bool) -> String {
    let theme = if coloured { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(110);
    let mut out = String::new();
    for fault in faults {
        let mut diagnostic =
            MietteDiagnostic::new(&fault.message).with_code(fault.code).with_severity(Severity::Error);
        diagnostic = diagnostic.with_label(LabeledSpan::new(
            fault.label.clone().or_else(|| Some("here".to_owned())),
            fault.span.start,
            fault.span.len(),
        ));
        if let Some(hint) = &fault.hint {
            diagnostic = diagnostic.with_help(hint);
        }
        let report = miette::Report::new(diagnostic)
            .with_source_code(NamedSource::new(&source.name, source.text.clone()).with_language("JSON"));
        if handler.render_report(&mut out, report.as_ref()).is_err() {
            let _ = writeln!(out, "{fault}");
        }
    }
    let _ =
        write!(out, "{}: {} fault{}", source.name, faults.len(), if faults.len() == 1 { "" } else { "s" });
    out
}

/// A plan as text.
pub fn plan(plan: &Plan, style: Style, verbose: bool) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} {}", style.bold("plan"), plan.recipe);
    for step in &plan.steps {
        let cutover = if step.cutover { style.yellow(" cut-over") } else { String::new() };
        let _ = writeln!(out, "\n{} ({}){cutover}", style.bold(step.step.as_str()), step.plugin);
        if let Some(description) = &step.description {
            let _ = writeln!(out, "  {}", style.dim(description));
        }
        for line in &step.log {
            let _ = writeln!(out, "  {line}");
        }
        let shown = if verbose { usize::MAX } else { 40 };
        for planned in step.effects.iter().take(shown) {
            effect(&mut out, &planned.preparation, style, verbose);
        }
        if step.effects.len() > shown {
            let rest = &step.effects[shown..];
            let (items, size) = totals(rest.iter().map(|planned| &planned.preparation));
            let _ = writeln!(
                out,
                "  … {} more effects{} (`--verbose` shows them all)",
                rest.len(),
                if items > 0 { format!(", {items} items, {}", bytes(size)) } else { String::new() }
            );
        }
        let (mut items, mut size) = totals(step.effects.iter().map(|planned| &planned.preparation));
        let mut count = step.effects.len() as u64;
        if let Some(more) = &step.more {
            let _ = writeln!(
                out,
                "  … and {} copies of objects that are there at no target yet, {}: counted, not listed",
                more.effects,
                bytes(more.bytes)
            );
            count += more.effects;
            items += more.items;
            size += more.bytes;
        }
        if items > 0 {
            let _ = writeln!(out, "  in all {count} effects, {items} items, {}", bytes(size));
        }
        match &step.status {
            StepPlanStatus::Known if step.effects.is_empty() => {
                let _ = writeln!(out, "  nothing to change");
            }
            StepPlanStatus::Known => {}
            StepPlanStatus::Partly { because } => {
                let _ = writeln!(out, "  {} {because}", style.cyan("the rest is not known yet:"));
            }
            StepPlanStatus::DependsOn { on } => {
                let _ =
                    writeln!(out, "  {} the outputs of step {on}", style.cyan("not known yet, depends on"));
            }
            StepPlanStatus::Skipped => {
                let _ = writeln!(out, "  skipped: its `when` is false");
            }
            StepPlanStatus::Failed { error } => {
                let _ = writeln!(out, "  {} {error}", style.red("would fail:"));
                if let Some(hint) = &error.hint {
                    let _ = writeln!(out, "    {} {hint}", style.cyan("hint:"));
                }
            }
        }
    }
    let gated = plan.gated().len();
    let _ = writeln!(
        out,
        "\n{} effects: {} create, {} change, {} overwrite, {} destroy{}",
        plan.effects(),
        plan.count(Class::Creates),
        plan.count(Class::Changes),
        plan.count(Class::Overwrites),
        plan.count(Class::Destroys),
        if gated > 0 {
            format!("; {}", style.yellow(&format!("{gated} need your consent (marked !)")))
        } else {
            String::new()
        }
    );
    out
}

fn effect(out: &mut String, preparation: &Preparation, style: Style, verbose: bool) {
    let mark = match preparation.class {
        Class::Creates => style.green("+"),
        Class::Changes => style.cyan("~"),
        Class::Overwrites => style.yellow("!~"),
        Class::Destroys => style.red("!-"),
    };
    let estimate = match &preparation.estimate {
        Some(estimate) => format!(
            " ({}{} items, {})",
            if estimate.exact { "" } else { "about " },
            estimate.items,
            bytes(estimate.bytes)
        ),
        None => String::new(),
    };
    let _ = writeln!(out, "  {mark} {}{estimate}", preparation.title);
    if let Some(why) = &preparation.irreversible {
        let _ = writeln!(out, "      {} {why}", style.red("! can't be undone:"));
    }
    let shown = if verbose { usize::MAX } else { 6 };
    for detail in preparation.details.iter().take(shown) {
        for line in detail.lines().take(if verbose { usize::MAX } else { 3 }) {
            let _ = writeln!(out, "      {}", style.dim(line));
        }
    }
    if preparation.details.len() > shown {
        let _ =
            writeln!(out, "      {}", style.dim(&format!("… {} more", preparation.details.len() - shown)));
    }
    if let Some(diff) = &preparation.diff {
        for line in diff.lines() {
            let line = match line.as_bytes().first() {
                Some(b'+') => style.green(line),
                Some(b'-') => style.red(line),
                _ => line.to_owned(),
            };
            let _ = writeln!(out, "      {line}");
        }
    }
}

fn totals<'a>(preparations: impl Iterator<Item = &'a Preparation>) -> (u64, u64) {
    preparations
        .filter_map(|preparation| preparation.estimate.as_ref())
        .fold((0, 0), |(items, size), estimate| (items + estimate.items, size + estimate.bytes))
}

/// An undo's plan as text.
pub fn undo_plan(plan: &UndoPlan, style: Style) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} of run {} ({})", style.bold("undo"), plan.of, plan.recipe);
    for step in &plan.steps {
        let _ = writeln!(out, "\n{}", style.bold(step.step.as_str()));
        for action in &step.actions {
            let _ = writeln!(out, "  ↶ {}", action.title);
            for detail in action.details.iter().take(12) {
                let _ = writeln!(out, "      {}", style.dim(detail));
            }
            if action.details.len() > 12 {
                let _ =
                    writeln!(out, "      {}", style.dim(&format!("… {} more", action.details.len() - 12)));
            }
            if let Some(what) = &action.changed {
                let name = format!("{}/{}", step.step, action.key);
                let _ = writeln!(out, "      {} {what} ({name})", style.yellow("! changed since:"));
            }
            if let Some(why) = &action.irreversible {
                let _ = writeln!(out, "      {} {why}", style.red("! can't be undone:"));
            }
        }
    }
    if plan.is_empty() {
        let _ = writeln!(out, "\nnothing to undo");
    }
    out
}

/// A report as text or, with `markdown`, as Markdown.
pub fn report(report: &Report, markdown: bool) -> String {
    let mut out = String::new();
    let heading = |out: &mut String, level: usize, text: &str| {
        let _ = if markdown {
            writeln!(out, "{} {text}\n", "#".repeat(level))
        } else {
            writeln!(out, "{text}\n{}", if level == 1 { "=" } else { "-" }.repeat(text.chars().count()))
        };
    };
    let bullet = if markdown { "- " } else { "  " };
    heading(&mut out, 1, &format!("Run {} of {}", report.run, report.recipe));
    if let Some(of) = &report.of {
        let _ = writeln!(out, "{bullet}undo of run {of}");
    }
    let _ = writeln!(out, "{bullet}status: {}", report.status.name());
    let _ = writeln!(out, "{bullet}started: {}", report.started_at);
    if let Some(ended) = &report.ended_at {
        let _ = writeln!(out, "{bullet}ended: {ended}");
    }
    let _ = writeln!(out, "{bullet}recipe digest: {}", report.recipe_digest.short());
    if let Some(fields) = report.inputs.as_object() {
        for (name, value) in fields {
            let _ = writeln!(out, "{bullet}input {name}: {value}");
        }
    }
    if !report.secret_inputs.is_empty() {
        let _ = writeln!(out, "{bullet}secret inputs: {}", report.secret_inputs.join(", "));
    }
    if let Some(error) = &report.error {
        let _ = writeln!(out, "{bullet}error: {error}");
    }
    let _ = writeln!(out);
    for step in &report.steps {
        heading(&mut out, 2, &format!("{} — {}", step.step, step.status.name()));
        let _ = writeln!(out, "{bullet}plugin: {} ({})", step.plugin, step.plugin_digest.short());
        if let (Some(started), Some(ended)) = (&step.started_at, &step.ended_at) {
            let _ = writeln!(out, "{bullet}from {started} to {ended}");
        }
        if let Some(error) = &step.error {
            let _ = writeln!(out, "{bullet}error: {error}");
        }
        let moved: Vec<_> = step.effects.iter().filter(|effect| effect.evidence.is_some()).collect();
        let others = step.effects.len() - moved.len();
        let _ = writeln!(out, "{bullet}effects: {} transfers, {others} others", moved.len());
        let failed = step.effects.iter().filter(|effect| effect.status == "failed");
        for effect in failed {
            let why = effect.error.as_deref().unwrap_or("");
            let _ = writeln!(out, "{bullet}failed: {} ({why})", effect.title);
        }
        for effect in &step.effects {
            for text in &effect.notes {
                let _ = writeln!(out, "{bullet}note on {}: {text}", effect.key);
            }
        }
        if !moved.is_empty() {
            let rows: Vec<[String; 4]> = moved
                .iter()
                .filter_map(|effect| {
                    let evidence = effect.evidence.as_ref()?;
                    let digest = evidence.digest.chars().take(28).collect();
                    Some([effect.title.clone(), evidence.items.to_string(), bytes(evidence.bytes), digest])
                })
                .collect();
            let _ = writeln!(out);
            table(&mut out, ["transfer", "items", "size", "digest"], &rows, markdown);
        }
        if !step.checks.is_empty() {
            let rows: Vec<[String; 4]> = step
                .checks
                .iter()
                .map(|check| {
                    let (verdict, why) = match &check.verdict {
                        Verdict::Passed => ("passed", String::new()),
                        Verdict::Failed(why) => ("FAILED", why.clone()),
                        Verdict::NotComparable(why) => ("not comparable", why.clone()),
                    };
                    [check.name.clone(), verdict.to_owned(), check.detail.clone().unwrap_or_default(), why]
                })
                .collect();
            let _ = writeln!(out);
            table(&mut out, ["check", "verdict", "compared", "why"], &rows, markdown);
        }
        let _ = writeln!(out);
    }
    if !report.undone.is_empty() {
        heading(&mut out, 2, "Undone");
        for undone in &report.undone {
            let mark = if undone.done { "done" } else { "open" };
            let _ = writeln!(out, "{bullet}{}: {} ({mark})", undone.step, undone.title);
        }
    }
    out
}

/// A table as Markdown or in aligned columns; more than 40 rows are cut, and the cut is said.
fn table(out: &mut String, head: [&str; 4], rows: &[[String; 4]], markdown: bool) {
    const MOST: usize = 40;
    let width = |column: usize| {
        rows.iter()
            .take(MOST)
            .map(|row| row[column].chars().count())
            .chain([head[column].len()])
            .max()
            .unwrap_or(0)
    };
    let widths = [width(0), width(1), width(2), width(3)];
    let mut line = |cells: [&str; 4]| {
        if markdown {
            let escaped: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            let _ = writeln!(out, "| {} |", escaped.join(" | "));
        } else {
            let text = cells
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect::<Vec<_>>()
                .join("  ");
            let _ = writeln!(out, "  {}", text.trim_end());
        }
    };
    line(head);
    if markdown {
        line(["---", "---:", "---:", "---"]);
    }
    for row in rows.iter().take(MOST) {
        line([&row[0], &row[1], &row[2], &row[3]]);
    }
    if rows.len() > MOST {
        let rest = format!("… {} more (`report --format json` has all)", rows.len() - MOST);
        line([&rest, "", "", ""]);
    }
}
