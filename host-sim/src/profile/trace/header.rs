//! The header of a trace file: checked, or explained.
//!
//! In: what safetensors says of a file. Out: what was traced, or an error that says what was
//! expected, what was found and what to do.

use super::{ACTIVE, MOST_NEURONS, TOKENS, TraceHeader};
use anyhow::{Context, Result, anyhow, bail, ensure};
use safetensors::tensor::{Dtype, Metadata, SafeTensorError};

/// Says in this project's words why `file` is not a safetensors file.
pub(super) fn explain(file: &[u8], error: SafeTensorError) -> anyhow::Error {
    let found = file.len();
    let promised = || {
        let (length, rest) = file.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let header: Metadata = serde_json::from_slice(rest.get(..length)?).ok()?;
        Some(8 + length + header.data_len())
    };
    match (&error, promised()) {
        (SafeTensorError::MetadataIncompleteBuffer, Some(expected)) => anyhow!(
            "expected {expected} bytes from its header, found {found}: the file was cut short or \
             added to; copy or write it again"
        ),
        _ => anyhow!("no safetensors header in its {found} bytes ({error}); write it again"),
    }
}

/// The token numbers, if there are any; `data` is what follows the header.
pub(super) fn read_ids(metadata: &Metadata, tokens: usize, data: &[u8]) -> Result<Vec<u32>> {
    let Some(info) = metadata.info(TOKENS) else { return Ok(Vec::new()) };
    ensure!(
        info.dtype == Dtype::U32 && info.shape == [tokens],
        "tensor `{TOKENS}`: expected U32 of shape ({tokens},), one number for each token of \
         `{ACTIVE}`, found {:?} of shape {:?}",
        info.dtype,
        info.shape
    );
    let (start, end) = info.data_offsets;
    let (words, _) = data[start..end].as_chunks::<4>();
    Ok(words.iter().map(|&word| u32::from_le_bytes(word)).collect())
}

/// Checks the names, types and shapes; gives what was traced, its tokens and where the tensor
/// starts within the data.
pub(super) fn check_header(metadata: &Metadata) -> Result<(TraceHeader, usize, usize)> {
    let Some(info) = metadata.info(ACTIVE) else {
        let found = metadata.offset_keys().join("`, `");
        bail!("expected a tensor `{ACTIVE}`, found `{found}`; rename it");
    };
    ensure!(
        info.dtype == Dtype::U8,
        "tensor `{ACTIVE}`: expected dtype U8, eight neurons a byte, found {:?}; pack the bits \
         (numpy: packbits(active, axis=-1, bitorder=\"little\"))",
        info.dtype
    );
    let &[tokens, layers, row] = info.shape.as_slice() else {
        bail!(
            "tensor `{ACTIVE}`: expected shape (tokens, layers, ceil(neurons / 8)), found {:?}; \
             reshape it",
            info.shape
        );
    };
    let text = |key: &str| {
        let value = metadata.metadata().as_ref().and_then(|m| m.get(key));
        value.with_context(|| {
            format!(
                "expected metadata strings `neurons`, `bundle_bytes`, `model` and `text`, found \
                 no `{key}`; add it to `__metadata__`"
            )
        })
    };
    let number = |key: &str, least: usize, most: usize| {
        let found = text(key)?;
        let value = found.parse().ok().filter(|value| (least..=most).contains(value));
        value.with_context(|| {
            format!("metadata `{key}`: expected {least} to {most} as a string, found `{found}`")
        })
    };
    let neurons = number("neurons", 1, MOST_NEURONS)?;
    ensure!(
        row == neurons.div_ceil(8),
        "tensor `{ACTIVE}`: expected {} bytes in the last dimension for metadata `neurons` = \
         {neurons}, found {row}; correct whichever is wrong",
        neurons.div_ceil(8)
    );
    ensure!(layers > 0, "tensor `{ACTIVE}`: expected at least one layer, found {:?}", info.shape);
    let header = TraceHeader {
        model: text("model")?.clone(),
        text: text("text")?.clone(),
        layers,
        neurons,
        bundle_bytes: number("bundle_bytes", 1, u32::MAX as usize)? as u32,
    };
    Ok((header, tokens, info.data_offsets.0))
}
