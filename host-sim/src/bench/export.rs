//! Rows for other programs: JSON and CSV.
//!
//! In: rows. Out: their fields, in the order of [`Row`], every digit kept.

use super::Row;
use anyhow::Result;

/// A JSON array of the rows.
///
/// # Errors
/// Only in theory: a row has nothing that JSON cannot hold.
pub fn json(rows: &[Row]) -> Result<String> {
    Ok(serde_json::to_string_pretty(rows)? + "\n")
}

/// A header and a line for each row.
///
/// # Errors
/// Only in theory: all rows have the same fields.
pub fn csv(rows: &[Row]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
