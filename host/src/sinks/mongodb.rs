//! mongodb
use super::*;
pub fn open(_n: &str, _c: &crate::config::Sink) -> Result<Arc<dyn Sink>, String> {
    Err("not yet".into())
}
