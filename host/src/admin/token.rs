//! The token of a host for which none is configured: random, in a file that only its user can read, named by the port.
//! Who can read it could as well end the process.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::runtime::cache;

/// A token's file. Dropping it removes the file.
pub struct TokenFile {
    path: PathBuf,
    token: String,
}

impl TokenFile {
    /// Writes a new token for the server on this port. The error says what does not work without.
    pub(super) fn create(port: u16) -> Result<TokenFile, String> {
        let failed = |cause: String| {
            format!(
                "no token for changes: {cause}; set [admin] token, or XDG_RUNTIME_DIR to a folder of this user's own"
            )
        };
        let path = path(port).ok_or_else(|| failed("neither XDG_RUNTIME_DIR nor HOME is set".into()))?;
        let token = random().map_err(|error| failed(format!("no random numbers: {error}")))?;
        write(&path, &token).map_err(|error| failed(format!("cannot write {}: {error}", path.display())))?;
        Ok(TokenFile { path, token })
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        // One of another process on the same port stays.
        if read_file(&self.path).is_some_and(|token| token == self.token) {
            fs::remove_file(&self.path).ok();
        }
    }
}

/// The token of the host of this user on this port, where it wrote one.
pub fn read(port: u16) -> Option<String> {
    read_file(&path(port)?)
}

fn read_file(path: &PathBuf) -> Option<String> {
    let token = fs::read_to_string(path).ok()?.trim().to_owned();
    Some(token).filter(|token| !token.is_empty())
}

fn path(port: u16) -> Option<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|dir| dir.is_absolute() && dir.is_dir()).map(|dir| dir.join("wasmill"));
    Some(runtime.or_else(|| Some(cache::user_dir()?.join("run")))?.join(format!("admin-{port}.token")))
}

fn write(path: &PathBuf, token: &str) -> std::io::Result<()> {
    let dir = path.parent().ok_or(std::io::ErrorKind::NotFound)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if fs::metadata(dir)?.mode() & 0o022 != 0 {
        return Err(std::io::Error::other("others may write to its folder; run `chmod 700` on it"));
    }
    let part = path.with_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    writeln!(file, "{token}")?;
    fs::rename(&part, path)
}

fn random() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
