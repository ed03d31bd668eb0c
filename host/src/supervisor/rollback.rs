//! Back to the modules that ran before. They are still in memory, so the switch is made between two batches; it holds
//! until the file of a module changes again, or until it is taken back. With a store all of this outlives the process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::warn;

use super::{Order, Plan, Supervisor, plan};
use crate::board::What;
use crate::config::Flow;
use crate::modules::store::{Build, Kept, Ran, RolledBack};
use crate::runtime::{Chain, Module};

/// Key of the problem of a store that cannot be written.
pub(super) const STORE: &str = "modules store";

/// What ran in a flow, newest first.
pub(super) struct Past {
    /// None where it has not run since the host began.
    current: Option<Arc<Plan>>,
    before: Option<Arc<Plan>>,
    /// The modules that an operator has sent away, by digest, and what is to run in their place.
    pinned: Option<(Arc<str>, Arc<Plan>)>,
    /// When that was asked for.
    asked: Instant,
}

impl Past {
    /// When a rollback was asked for that is in force.
    pub(super) fn rolled_back(&self) -> Option<Instant> {
        self.pinned.as_ref().map(|_| self.asked)
    }

    /// The modules before those of `plan`, where they read and write the same: nothing else could be repeated by them.
    pub(super) fn before(&self, plan: &Plan) -> Option<Arc<Chain>> {
        self.before.as_ref().filter(|before| before.same_shape(plan)).map(|before| before.chain.clone())
    }
}

impl Supervisor {
    pub(super) fn obey(&mut self, order: Order) {
        let done = match order.what {
            What::Rollback => self.roll_back(&order.flow),
            What::UndoRollback => self.undo_rollback(&order.flow),
        };
        // Who asked may have gone.
        drop(order.answer.send(done));
    }

    fn roll_back(&mut self, name: &str) -> Result<String, String> {
        let asked = Instant::now();
        let not_yet = || format!("flow {name} has not run yet, so there is nothing to go back to");
        let past = self.past.get_mut(name).ok_or_else(not_yet)?;
        let current = past.current.clone().ok_or_else(not_yet)?;
        if let Some((away, _)) = &past.pinned {
            return Err(format!(
                "flow {name} is rolled back already, from {}; put another module in place, or take the rollback back",
                short(away)
            ));
        }
        let Some(before) = past.before.clone() else {
            let known = if self.store.is_some() { " and the store has no other" } else { "" };
            return Err(format!(
                "flow {name} has run with one build only since the host began{known}; put the build that you want into \
                 the modules folder"
            ));
        };
        let away = current.chain.digest.clone();
        past.pinned = Some((away.clone(), before.clone()));
        past.asked = asked;
        warn!(flow = name, from = %away, to = %before.chain.digest, "rolled back by an operator");
        self.reconcile();
        let (to, from) = (short(&before.chain.digest), short(&away));
        Ok(format!("flow {name} runs {to} again instead of {from}, until its module is replaced; {}", self.lasts(name)))
    }

    fn undo_rollback(&mut self, name: &str) -> Result<String, String> {
        let past = self.past.get_mut(name);
        let Some((back, _)) = past.and_then(|past| past.pinned.take()) else {
            return Err(format!("flow {name} is not rolled back"));
        };
        warn!(flow = name, to = %back, "an operator took a rollback back");
        self.reconcile();
        Ok(format!("flow {name} gets what the modules folder holds"))
    }

    /// What becomes of a rollback at a restart.
    fn lasts(&self, name: &str) -> &'static str {
        match (&self.store, self.unsaved.contains(name)) {
            (Some(_), false) => "the file in the folder stays as it is, also over restarts",
            (Some(_), true) => "but the store cannot be written: after a restart the file in the folder runs",
            (None, _) => {
                "after a restart the file in the folder runs: put the good build there, or set [modules] store"
            }
        }
    }

    /// Plans as they are wanted by the folder, but for flows that are rolled back from exactly that.
    pub(super) fn as_pinned(&mut self, plans: BTreeMap<String, Plan>) -> BTreeMap<String, Arc<Plan>> {
        let mut pinned = BTreeMap::new();
        for (name, plan) in plans {
            let plan = Arc::new(plan);
            if !self.past.contains_key(&name) {
                let past = self.recall(&name, &plan);
                self.past.insert(name.clone(), past);
            }
            let past = self.past.get_mut(&name);
            let instead = past.and_then(|past| match &past.pinned {
                Some((away, instead)) if **away == *plan.chain.digest => Some(instead.clone()),
                _ => {
                    past.pinned = None;
                    None
                }
            });
            pinned.insert(name, instead.unwrap_or(plan));
        }
        pinned
    }

    /// A flow runs with this plan from now on.
    pub(super) fn note_plan(&mut self, plan: &Arc<Plan>) {
        let Some(past) = self.past.get_mut(&*plan.name) else { return };
        let replaced = past.current.replace(plan.clone());
        if let Some(before) = replaced.filter(|before| before.chain.digest != plan.chain.digest) {
            past.before = Some(before);
        }
        let back = past.before.as_ref().filter(|_| past.pinned.is_none());
        let back = back.map(|before| before.chain.digest.clone());
        self.process.board.flow(&plan.name).note_before(back, past.pinned.is_some());
    }

    /// What the store knows of a flow of which the folder wants `plan` now.
    fn recall(&self, name: &str, plan: &Arc<Plan>) -> Past {
        let past = Past { current: None, before: None, pinned: None, asked: Instant::now() };
        let Some(ran) = self.ran.get(name) else { return past };
        if let Some(back) = ran.rolled_back.as_ref().filter(|back| *back.from == *plan.chain.digest) {
            let (away, to) = (back.from.as_str(), back.to.digest());
            if let Some(instead) = self.kept_plan(name, &back.to) {
                warn!(flow = name, from = away, to, "still rolled back: the folder holds what was sent away");
                let pinned = Some((plan.chain.digest.clone(), instead));
                return Past { before: Some(plan.clone()), pinned, ..past };
            }
            warn!(flow = name, from = away, to, "a rollback has ended: the build of before is not in the store");
        }
        let others = ran.builds.iter().rev().filter(|build| build.digest() != *plan.chain.digest);
        let before = others.filter_map(|build| self.kept_plan(name, build)).next();
        Past { before, ..past }
    }

    /// A flow with modules of before, where they are at hand and still fit the configuration.
    fn kept_plan(&self, name: &str, build: &Build) -> Option<Arc<Plan>> {
        let config = &self.process.config;
        let configured = config.flow.get(name);
        let flow: Flow = configured.cloned().unwrap_or_default();
        let names = flow.modules.clone().unwrap_or_else(|| vec![name.to_owned()]);
        if !build.0.iter().map(|kept| &kept.name).eq(&names) {
            return None;
        }
        let module = |stem: &str| {
            let kept = build.0.iter().find(|kept| kept.name == stem)?;
            let in_folder = self.modules.get(stem).filter(|module| *module.digest == *kept.digest);
            in_folder.or_else(|| self.recalled.get(kept)).cloned()
        };
        let kept = plan(config, name, &flow, configured.is_none(), module).ok()?;
        match self.runtime.probe(&kept.chain) {
            Ok(()) => Some(Arc::new(kept)),
            Err(error) => {
                warn!(flow = name, digest = build.digest(), "a build of before cannot run any more: {error}");
                None
            }
        }
    }

    /// Writes down what runs and what is rolled back, where that has changed.
    pub(super) fn save_past(&mut self) {
        let Some(store) = self.store.clone() else { return };
        for (name, past) in &self.past {
            let Some(current) = &past.current else { continue };
            let mut ran = self.ran.get(name).cloned().unwrap_or_else(|| Ran { flow: name.clone(), ..Ran::default() });
            ran.runs(build_of(current));
            let back = |(from, to): &(Arc<str>, Arc<Plan>)| RolledBack { from: from.to_string(), to: build_of(to) };
            ran.rolled_back = past.pinned.as_ref().map(back);
            if self.ran.get(name) == Some(&ran) && !self.unsaved.contains(name) {
                continue;
            }
            match store.note(&ran) {
                Ok(()) => drop(self.unsaved.remove(name)),
                Err(words) => {
                    self.process.health.problem(STORE, words);
                    self.unsaved.insert(name.clone());
                }
            }
            self.ran.insert(name.clone(), ran);
        }
        if self.unsaved.is_empty() && self.unkept.is_none() {
            self.process.health.solved(STORE);
        }
    }
}

fn build_of(plan: &Plan) -> Build {
    let kept = |module: &Module| Kept { name: module.name.to_string(), digest: module.digest.to_string() };
    Build(plan.chain.steps.iter().map(|step| kept(&step.module)).collect())
}

/// The beginning of each digest.
fn short(digest: &str) -> String {
    digest.split('+').map(|one| &one[..one.len().min(12)]).collect::<Vec<_>>().join("+")
}
