//! The part of `check` that needs no network: modules, flows and where they may write.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Lines;
use crate::cli::modules::{Loader, summary};
use crate::cli::{Failure, out};
use crate::config::report::nearest;
use crate::config::{self, Config, Limits};
use crate::manifest::TargetSpec;
use crate::runtime::Module;

/// A flow as it would start.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) name: String,
    pub(super) topics: Vec<String>,
    pub(super) targets: Vec<TargetSpec>,
    pub(super) dead_letters: Option<String>,
}

type Modules = BTreeMap<String, Arc<Module>>;

pub(super) fn check(config: &Config, lines: &mut Lines) -> Result<Vec<Flow>, Failure> {
    let modules = modules(config, lines)?;
    let mut flows = Vec::new();
    for (name, flow) in &config.flow {
        flows.extend(declared(config, name, flow, &modules, lines));
    }
    let named: Vec<&String> = config.flow.values().flat_map(|flow| flow.modules.iter().flatten()).collect();
    for (name, module) in &modules {
        if !config.modules.adopt || config.flow.contains_key(name) || named.contains(&name) {
            continue;
        }
        flows.extend(adopted(config, name, module, lines));
    }
    if flows.is_empty() && lines.code() == 0 {
        let help = "build a transform into the folder: wasmill build PATH";
        lines.note("flows", format!("there is no module in {}", config.modules.dir.display()), help);
    }
    Ok(flows)
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

fn declared(config: &Config, name: &str, flow: &config::Flow, modules: &Modules, lines: &mut Lines) -> Option<Flow> {
    let what = format!("flow {name}");
    let own = vec![name.to_owned()];
    let mut chain = Vec::new();
    for module in flow.modules.as_ref().unwrap_or(&own) {
        let Some(found) = modules.get(module) else {
            let help = match nearest(module, modules.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("build it into {}: wasmill build PATH", config.modules.dir.display()),
            };
            lines.environment(what, format!("the module `{module}` is not there or does not load"), help);
            return None;
        };
        chain.push(found);
    }
    let topics = flow.topics.clone().unwrap_or_else(|| chain[0].manifest.topics.clone());
    let targets: Vec<TargetSpec> = chain.iter().flat_map(|module| module.manifest.targets.clone()).collect();
    finish(config, name, topics, targets, flow.dead_letters.clone(), lines)
}

fn adopted(config: &Config, name: &str, module: &Module, lines: &mut Lines) -> Option<Flow> {
    let granted = |target: &TargetSpec| {
        let label = target.label();
        config.modules.targets.as_ref().is_none_or(|grants| grants.iter().any(|grant| covers(grant, &label)))
    };
    if let Some(target) = module.manifest.targets.iter().find(|target| target.sink != "next" && !granted(target)) {
        let help = format!("add \"{}\" to modules.targets, or declare [flow.{name}]", target.label());
        lines.config(format!("flow {name}"), format!("the module may not write to {}", target.label()), help);
        return None;
    }
    finish(config, name, module.manifest.topics.clone(), module.manifest.targets.clone(), None, lines)
}

/// Whether a grant such as `kafka:*` covers a target.
fn covers(grant: &str, target: &str) -> bool {
    grant == target || grant.strip_suffix('*').is_some_and(|prefix| target.starts_with(prefix))
}

fn finish(
    config: &Config,
    name: &str,
    topics: Vec<String>,
    targets: Vec<TargetSpec>,
    dead_letters: Option<String>,
    lines: &mut Lines,
) -> Option<Flow> {
    let what = format!("flow {name}");
    if topics.is_empty() {
        let help = format!("name them: [flow.{name}] topics = [\"…\"]");
        lines.config(what, "neither the module nor the configuration names a topic", help);
        return None;
    }
    let known = |sink: &str| sink == "kafka" || sink == "next" || config.sinks.contains_key(sink);
    if let Some(target) = targets.iter().find(|target| !known(&target.sink)) {
        let variable = match target.sink.as_str() {
            "postgres" => " or set POSTGRES_URL",
            "mongodb" => " or set MONGODB_URL",
            _ => "",
        };
        let help = format!("declare [sinks.{}] with its url{variable}", target.sink);
        lines.config(what, format!("the module writes to {}, but there is no such sink", target.label()), help);
        return None;
    }
    let written: Vec<String> = targets.iter().map(TargetSpec::label).collect();
    lines.fine(what, format!("{} → {}", topics.join(", "), written.join(", ")));
    Some(Flow { name: name.into(), topics, targets, dead_letters })
}
