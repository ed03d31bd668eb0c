//! The part of `check` that needs no network: modules, flows and where they may write.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Lines;
use crate::cli::modules::{Loader, summary};
use crate::cli::{Failure, out};
use crate::config::report::nearest;
use crate::config::{Config, Flow, Limits};
use crate::flow::plan::{Plan, Refusal, plan};
use crate::modules::store::{BUILDS, Store};
use crate::runtime::Module;

type Modules = BTreeMap<String, Arc<Module>>;

/// The plans of all flows that may run, as the host itself makes them.
pub(in crate::cli) fn check(config: &Config, lines: &mut Lines) -> Result<Vec<Plan>, Failure> {
    store(config, lines);
    let modules = modules(config, lines)?;
    let module = |stem: &str| modules.get(stem).cloned();
    let mut plans: Vec<Plan> = Vec::new();
    for (name, flow) in &config.flow {
        let result = plan(config, name, flow, false, module);
        plans.extend(result.map_err(|refusal| refuse(config, name, &refusal, &modules, lines)));
    }
    for name in modules.keys().filter(|name| is_adopted(config, name)) {
        match plan(config, name, &Flow::default(), true, module) {
            Ok(plan) => plans.extend(only_once(plan, &plans, lines)),
            Err(refusal) => refuse(config, name, &refusal, &modules, lines),
        }
    }
    for plan in &plans {
        let written: Vec<String> = plan.targets.iter().map(|target| target.label()).collect();
        lines.fine(format!("flow {}", plan.name), format!("{} → {}", plan.topics.join(", "), written.join(", ")));
    }
    if plans.is_empty() && lines.code() == 0 {
        let help = "build a transform into the folder: wasmill build PATH";
        lines.note("flows", format!("there is no module in {}", config.modules.dir.display()), help);
    }
    Ok(plans)
}

/// Where builds are kept over restarts.
fn store(config: &Config, lines: &mut Lines) {
    let Some(dir) = &config.modules.store else { return };
    let name = dir.display();
    match Store::look(dir) {
        Ok(()) => lines.fine("store", format!("{name}: the last {BUILDS} builds of each flow")),
        Err(wrong) => {
            let help = format!("mkdir -p {name} && chown $(id -u) {name}, or correct modules.store");
            lines.environment("store", wrong, help);
        }
    }
}

/// Whether a module gets a flow by itself: no flow of the configuration names it.
fn is_adopted(config: &Config, module: &str) -> bool {
    let names = |(name, flow): (&String, &Flow)| match &flow.modules {
        Some(modules) => modules.iter().any(|other| other == module),
        None => name == module,
    };
    config.modules.adopt && !config.flow.iter().any(names)
}

/// Refuses a dropped module that would write what another flow writes already.
fn only_once(plan: Plan, others: &[Plan], lines: &mut Lines) -> Option<Plan> {
    let Some((other, (topic, target))) = others.iter().find_map(|other| Some((other, plan.doubles(other)?))) else {
        return Some(plan);
    };
    let wrong =
        format!("the flow {} reads {topic} into {target} already: everything would be written twice", other.name);
    lines.config(format!("flow {}", plan.name), wrong, "remove one of the two modules, or configure one of the flows");
    None
}

fn refuse(config: &Config, name: &str, refusal: &Refusal, modules: &Modules, lines: &mut Lines) {
    let what = format!("flow {name}");
    let Refusal::Missing(module) = refusal else {
        let words = refusal.to_string();
        let words = words.strip_prefix(&format!("{what} ")).map_or(words.clone(), |rest| format!("it {rest}"));
        return lines.config(what, words, "");
    };
    let help = match nearest(module, modules.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("build it into {}: wasmill build PATH", config.modules.dir.display()),
    };
    lines.environment(what, format!("the module `{module}` is not in the folder, or does not load"), help);
}

fn modules(config: &Config, lines: &mut Lines) -> Result<Modules, Failure> {
    let dir = &config.modules.dir;
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            let help = format!("create it (mkdir -p {}), or correct modules.dir", dir.display());
            lines.environment("modules", format!("cannot read the folder {}: {error}", dir.display()), help);
            return Ok(Modules::new());
        }
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| is_module(path)).collect();
    files.sort();
    let mut modules = Modules::new();
    if files.is_empty() {
        return Ok(modules);
    }
    let loader = Loader::new(config.modules.cache.clone())?;
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let limits = config.flow.get(&name).map_or_else(Limits::default, |flow| flow.limits.clone());
        let what = format!("module {name}");
        match loader.load(&file, &limits) {
            Ok((module, size)) => {
                let digest = module.digest.get(..12).unwrap_or_default();
                lines.fine(what, format!("{} ({}, sha256 {digest})", summary(&module), out::size(size)));
                modules.insert(name, module);
            }
            Err(error) => lines.environment(what, error, format!("build it again, or remove {}", file.display())),
        }
    }
    Ok(modules)
}

/// As the host sees the folder: hidden files are somebody's work in progress.
fn is_module(path: &std::path::Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    !hidden && path.extension().is_some_and(|extension| extension == "wasm")
}
