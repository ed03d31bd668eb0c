//! `wasmill build`: a crate in, a checked module in the modules folder out. The flags that make a module small and fast
//! are ours and given on cargo's command line, so a transform's Cargo.toml needs none. The compiler's words are its own.

mod cargo;
mod toolchain;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::modules::{Loader, summary};
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
    let package = cargo::find(&args.path)?;
    let environment = toolchain::find(&package.dir)?;
    let built = cargo::build(&package, &environment)?;
    let bytes = std::fs::read(&built)
        .map_err(|error| Failure::environment(format!("cannot read {}: {error}", built.display())))?;
    let module = Loader::new(None)?.load_bytes(&package.name, &bytes, &Limits::default()).map_err(|error| {
        Failure::runtime(format!("{} was built, but the host would refuse it: {error}", package.name))
    })?;
    let file = put(&args.output, &package.name, &bytes)?;
    let style = out::Style::of(&std::io::stderr());
    out::say(&format!("{} {}", style.good("✓"), summary(&module)));
    out::say(&format!("  {}, sha256 {}", out::size(bytes.len()), module.digest));
    out::data(&file.display().to_string());
    Ok(())
}

/// Puts the file in place in one step: a host that watches the folder never sees half of it.
fn put(dir: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Failure> {
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
