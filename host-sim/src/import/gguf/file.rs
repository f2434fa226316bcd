//! The container: metadata by key, tensors by name.
//!
//! In: a path. Out: [`Gguf`]: typed metadata, and tensors as float32, checked. Knows nothing of what
//! they mean. Values stay in the file, which is mapped, and are read where they are asked for: memory is taken
//! for each key and each tensor, not for the elements of lists.
//!
//! The format is that of `docs/gguf.md` in ggml's repository, versions 2 and 3, little-endian.

use super::value::{List, Reader, Value};
use crate::import::in_file::InFile;
use crate::import::keys::GGUF;
use crate::import::quants::Type;
use crate::model::Values;
use anyhow::{Context, Result, anyhow, bail, ensure};
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The first bytes of every file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";

struct Tensor {
    kind: u32,
    /// Rows first.
    shape: Vec<usize>,
    /// From the start of the data.
    offset: usize,
}

/// An open file.
pub(crate) struct Gguf {
    path: PathBuf,
    bytes: Arc<Mmap>,
    /// Where tensor data begins.
    data: usize,
    /// Where each value is, behind its key.
    metadata: BTreeMap<String, usize>,
    tensors: BTreeMap<String, Tensor>,
}

impl Gguf {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("{shown}: cannot be opened"))?;
        // SAFETY: the map is private to this value and only read as bytes, so no bit pattern is
        // invalid. Another process that shortens the file meanwhile would end this one by SIGBUS;
        // checkpoints are not edited in place.
        #[allow(unsafe_code, reason = "reading a checkpoint larger than RAM without a copy")]
        let bytes =
            unsafe { Mmap::map(&file) }.with_context(|| format!("{shown}: cannot be mapped"))?;
        let (metadata, tensors, data) = parse(&bytes).with_context(|| shown.to_string())?;
        Ok(Self { path: path.to_owned(), bytes: Arc::new(bytes), data, metadata, tensors })
    }

    /// The path, for messages.
    pub(crate) fn shown(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    pub(crate) fn get(&self, key: &str) -> Option<Value<'_>> {
        Reader { bytes: &self.bytes, at: *self.metadata.get(key)? }.typed().ok()
    }

    fn wrong(&self, key: &str, expected: &str) -> anyhow::Error {
        match self.get(key) {
            Some(Value::List(list)) => anyhow!(
                "{}: `{key}` is a list of {}, expected {expected}; convert the model again",
                self.shown(),
                list.left()
            ),
            Some(found) => anyhow!(
                "{}: `{key}` is {found:?}, expected {expected}; convert the model again",
                self.shown()
            ),
            None => anyhow!(
                "{}: `{key}` is missing, expected {expected}; convert the model again",
                self.shown()
            ),
        }
    }

    /// Refuses what the metadata say and nobody follows.
    pub(crate) fn check_keys(&self, architecture: &str, allowed: &[String]) -> Result<()> {
        self.metadata.iter().try_for_each(|(key, &at)| {
            let value = Reader { bytes: &self.bytes, at }.typed()?;
            let generic = match key.strip_prefix(architecture) {
                Some(rest) if rest.starts_with('.') => format!("ARCH{rest}"),
                _ => key.clone(),
            };
            GGUF.check_as(&generic, key, &value.json(), allowed)
        })
    }

    /// A whole number, if the key is there.
    pub(crate) fn whole(&self, key: &str) -> Result<Option<u32>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Whole(number)) => u32::try_from(number)
                .map(Some)
                .map_err(|_| self.wrong(key, "a whole number of 32 bits")),
            Some(_) => Err(self.wrong(key, "a whole number")),
        }
    }

    pub(crate) fn required(&self, key: &str) -> Result<u32> {
        self.whole(key)?.ok_or_else(|| self.wrong(key, "a whole number"))
    }

    /// A number, if the key is there.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f32>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number as f32)),
            Some(Value::Whole(number)) => Ok(Some(number as f32)),
            Some(_) => Err(self.wrong(key, "a number")),
        }
    }

    /// A text, if the key is there.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    /// A list; empty where the key is missing.
    pub(crate) fn list(&self, key: &str) -> Result<List<'_>> {
        match self.get(key) {
            None => Ok(List::EMPTY),
            Some(Value::List(list)) => Ok(list),
            Some(_) => Err(self.wrong(key, "a list")),
        }
    }

    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Rows of a tensor of two dimensions.
    pub(crate) fn rows(&self, tensor: &str) -> Option<usize> {
        self.tensors.get(tensor)?.shape.first().copied()
    }

    /// The values of tensor `name`, which must have `shape` and be finite; they are left in the file until they
    /// are asked for.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Values> {
        let path = self.shown();
        let tensor = self.tensors.get(name).with_context(|| {
            format!(
                "{path}: tensor `{name}` is missing, expected with shape {shape:?}; there are {} other \
                 tensors: is this a whole model, not a split, adapter or projector?",
                self.tensors.len()
            )
        })?;
        ensure!(
            tensor.shape == shape,
            "{path}: tensor `{name}` has shape {:?}, expected {shape:?} from the metadata; convert the \
             model again",
            tensor.shape
        );
        let kind = Type::of_code(tensor.kind).with_context(|| {
            format!(
                "{path}: tensor `{name}` is of type {}, expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, \
                 Q8_0 or Q2_K to Q6_K; take another quantisation of the model",
                tensor.kind
            )
        })?;
        let (values, size) = kind.block();
        let count: usize = shape.iter().product();
        let cols = shape.last().copied().unwrap_or(0);
        ensure!(
            cols.is_multiple_of(values),
            "{path}: tensor `{name}` has rows of {cols} values, expected whole blocks of {values} for \
             {kind:?}; the file is damaged"
        );
        let start = self.data.checked_add(tensor.offset);
        let end = start.and_then(|start| start.checked_add(count / values * size));
        let bytes = start.zip(end).map(|(start, end)| start..end);
        let bytes = bytes.filter(|bytes| self.bytes.get(bytes.clone()).is_some());
        let bytes = bytes.with_context(|| {
            format!("{path}: tensor `{name}` lies beyond the end of the file; download it again")
        })?;
        let start = bytes.start;
        let stored = InFile { file: Arc::clone(&self.bytes), kind, start, count };
        if let Err((i, value)) = stored.check() {
            bail!(
                "{path}: tensor `{name}` holds {value} at element {i} of {count}, expected finite values; the \
                 file is damaged: download it again"
            );
        }
        Ok(stored.stored())
    }
}

type Parsed = (BTreeMap<String, usize>, BTreeMap<String, Tensor>, usize);

fn parse(bytes: &[u8]) -> Result<Parsed> {
    let mut reader = Reader { bytes, at: 0 };
    ensure!(
        reader.take(4)? == MAGIC,
        "does not begin with `GGUF`; expected a GGUF file, fetched whole (not a Git LFS pointer)"
    );
    let version = reader.u32()?;
    ensure!(
        version == 2 || version == 3,
        "GGUF of version {version}, expected 2 or 3, little-endian; convert the model again"
    );
    let (tensor_count, key_count) = (reader.u64()?, reader.u64()?);
    let mut metadata = BTreeMap::new();
    let mut alignment = Some(32);
    for _ in 0..key_count {
        let key = reader.text()?;
        let at = reader.at;
        let value = reader.typed();
        let value = value.with_context(|| format!("metadata `{key}`"))?;
        if key == "general.alignment" {
            alignment = match value {
                Value::Whole(number) => usize::try_from(number).ok().filter(|&n| n > 0),
                _ => None,
            };
        }
        let key = key.to_owned();
        ensure!(
            metadata.insert(key.clone(), at).is_none(),
            "metadata `{key}` is there twice, expected once; convert the model again"
        );
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let name = reader.text()?.to_owned();
        let dimensions = reader.u32()?;
        ensure!(
            (1..=4).contains(&dimensions),
            "tensor `{name}` has {dimensions} dimensions, expected 1 to 4; the file is damaged"
        );
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(usize::try_from(reader.u64()?)?);
        }
        let all = shape.iter().try_fold(1usize, |all, &n| all.checked_mul(n));
        ensure!(
            all.is_some_and(|all| all <= bytes.len() * 8),
            "tensor `{name}` has shape {shape:?}, more than the file holds; download it again"
        );
        shape.reverse();
        let (kind, offset) = (reader.u32()?, usize::try_from(reader.u64()?)?);
        ensure!(
            tensors.insert(name.clone(), Tensor { kind, shape, offset }).is_none(),
            "tensor `{name}` is there twice, expected once; convert the model again"
        );
    }
    let alignment = alignment.context("`general.alignment` is no positive number")?;
    let data = reader.at.checked_next_multiple_of(alignment).context("`general.alignment`")?;
    check_apart(&tensors)?;
    Ok((metadata, tensors, data))
}

/// Refuses tensors that share bytes: a small file would stand for a model of any size.
fn check_apart(tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let mut taken: Vec<_> = tensors
        .iter()
        .filter_map(|(name, tensor)| {
            let (values, bytes) = Type::of_code(tensor.kind)?.block();
            let count: usize = tensor.shape.iter().product();
            let end = tensor.offset.checked_add((count / values).checked_mul(bytes)?)?;
            (end > tensor.offset).then_some((tensor.offset, end, name))
        })
        .collect();
    taken.sort_unstable();
    for pair in taken.windows(2) {
        let [(_, end, first), (start, _, second)] = pair else { continue };
        ensure!(
            end <= start,
            "tensors `{first}` and `{second}` share bytes: the first ends at {end} of the data, the second \
             begins at {start}; the file is damaged: download it again"
        );
    }
    Ok(())
}
