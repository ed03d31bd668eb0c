//! A quote as the guest sees it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(crate) struct Quote<'a> {
    #[serde(borrow)]
    pub(crate) quote: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) character: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) image: Cow<'a, str>,
}

/// The three columns, as a row or as a record.
#[derive(Serialize)]
pub(crate) struct Row<'a> {
    pub(crate) quotes: &'a str,
    pub(crate) charact: &'a str,
    pub(crate) imag: &'a str,
}

impl Quote<'_> {
    pub(crate) fn row(&self) -> Row<'_> {
        Row { quotes: &self.quote, charact: &self.character, imag: &self.image }
    }
}
