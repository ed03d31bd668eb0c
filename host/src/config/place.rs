//! Between places in the text of a file and keys of its parsed tree, both ways.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::validate::Finding;

/// The path of the key or value with this span; empty where there is none.
pub(super) fn locate(root: &DeTable<'_>, span: &Range<usize>) -> Vec<String> {
    locate_table(root, span, &mut Vec::new()).unwrap_or_default()
}

fn locate_table(table: &DeTable<'_>, span: &Range<usize>, path: &mut Vec<String>) -> Option<Vec<String>> {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        if key.span() == *span || value.span() == *span {
            return Some(path.clone());
        }
        if let Some(found) = locate_value(value.get_ref(), span, path) {
            return Some(found);
        }
        path.pop();
    }
    None
}

fn locate_value(value: &DeValue<'_>, span: &Range<usize>, path: &mut Vec<String>) -> Option<Vec<String>> {
    match value {
        DeValue::Table(table) => locate_table(table, span, path),
        DeValue::Array(items) => items.iter().find_map(|item| {
            (item.span() == *span).then(|| path.clone()).or_else(|| locate_value(item.get_ref(), span, path))
        }),
        _ => None,
    }
}

/// Takes out the entry whose key or value has this span.
pub(super) fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let found = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span);
    if let Some(key) = found.map(|(key, _)| key.clone()) {
        return table.remove(&key).is_some();
    }
    // An element that is wrong takes the whole list with it: what remains of a list means something else.
    let holder = table.iter().find(|(_, value)| locate_in_array(value.get_ref(), span)).map(|(key, _)| key.clone());
    if let Some(key) = holder {
        return table.remove(&key).is_some();
    }
    table.iter_mut().any(|(_, value)| match value.get_mut() {
        DeValue::Table(table) => remove(table, span),
        _ => false,
    })
}

fn locate_in_array(value: &DeValue<'_>, span: &Range<usize>) -> bool {
    let DeValue::Array(items) = value else { return false };
    items.iter().any(|item| item.span() == *span || locate_value(item.get_ref(), span, &mut Vec::new()).is_some())
}

/// Where a finding is in the file: the value, its key, or the nearest table that is there.
pub(super) fn span_of(root: &DeTable<'_>, finding: &Finding) -> Option<Range<usize>> {
    let mut table = root;
    let mut span = None;
    for (depth, name) in finding.path.iter().enumerate() {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { break };
        let last = depth + 1 == finding.path.len();
        span = Some(key.span());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            DeValue::Array(items) if last => {
                let item = finding.item.and_then(|index| items.get(index));
                return Some(item.map_or_else(|| value.span(), Spanned::span));
            }
            _ if last && !finding.on_key => return Some(value.span()),
            _ => break,
        }
    }
    span
}
