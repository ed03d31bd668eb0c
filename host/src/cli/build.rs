//! `wasmill build`: a crate in, a checked module in the modules folder out. The flags that make a module small and fast
//! are ours and given on cargo's command line, so a transform's Cargo.toml needs none. The compiler's words are its own.

mod cargo;
pub(super) mod toolchain;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::modules::{Loader, Subject, summary};
use super::new::sdk;
use super::{Failure, out};
use crate::config::Limits;

#[derive(clap::Args, Debug)]
pub(super) struct BuildArgs {
    /// The crate's folder
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The folder that the module is put into; created where it is missing
    #[arg(short, long, value_name = "DIR", default_value = "modules")]
    output: PathBuf,
}

pub(super) fn run(args: &BuildArgs) -> Result<(), Failure> {
    let built = built(&args.path)?;
    let subject = load(&Loader::new(None)?, &built)?;
    let file = put(&args.output, &built.name, &built.bytes)?;
    say_what_it_is(&subject);
    out::data(&file.display().to_string());
    Ok(())
}

/// A crate that was compiled.
pub(super) struct Built {
    /// The package's name, which becomes the module's.
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// The folder of the crate, and whether there is one at all.
pub(super) fn crate_dir(path: &Path) -> Result<PathBuf, Failure> {
    sdk::check(path)?;
    Ok(cargo::find(path)?.dir)
}

/// Compiles the crate in a folder.
pub(super) fn built(path: &Path) -> Result<Built, Failure> {
    sdk::check(path)?;
    let package = cargo::find(path)?;
    let environment = toolchain::find(&package.dir)?;
    let file = cargo::build(&package, &environment)?;
    let bytes = std::fs::read(&file)
        .map_err(|error| Failure::environment(format!("cannot read {}: {error}", file.display())))?;
    Ok(Built { name: package.name, dir: package.dir, bytes })
}

/// Loads what was built, as the host will.
pub(super) fn load(loader: &Loader, built: &Built) -> Result<Subject, Failure> {
    let module = loader.load_bytes(&built.name, &built.bytes, &Limits::default()).map_err(|error| {
        Failure::runtime(format!("{} was built, but the host would refuse it: {error}", built.name))
    })?;
    Ok(Subject { module, size: built.bytes.len(), dir: built.dir.clone() })
}

/// The manifest, size, digest and what the module wants of the host.
pub(super) fn say_what_it_is(subject: &Subject) {
    let style = out::Style::of(&std::io::stderr());
    let module = &subject.module;
    out::say(&format!("{} {}", style.good("✓"), summary(module)));
    out::say(&format!("  {}, sha256 {}", out::size(subject.size), module.digest));
    let imports = if module.imports.is_empty() { "nothing".to_owned() } else { module.imports.join("; ") };
    out::say(&format!("  uses of the host: {imports}"));
}

/// Puts the file in place in one step: a host that watches the folder never sees half of it.
pub(super) fn put(dir: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
    let file = dir.join(format!("{name}.wasm"));
    let half = dir.join(format!(".{name}.wasm.tmp"));
    let write = || {
        std::fs::create_dir_all(dir)?;
        let mut half_file = std::fs::File::create(&half)?;
        half_file.write_all(bytes)?;
        half_file.sync_all()?;
        std::fs::rename(&half, &file)
    };
    write().map_err(|error| {
        std::fs::remove_file(&half).ok();
        Failure::environment(format!("cannot write {}: {error}; choose another folder with -o", file.display()))
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_put_in_place_without_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("modules");
        for content in ["one", "two"] {
            let file = put(&modules, "quotes", content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(file).unwrap(), content);
        }
        assert_eq!(std::fs::read_dir(&modules).unwrap().count(), 1);
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert_eq!(put(&dir.path().join("file"), "quotes", b"x").unwrap_err().code, 3);
    }
}
