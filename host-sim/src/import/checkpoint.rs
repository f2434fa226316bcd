//! The tensors of a checkpoint: one file, or several behind an index.
//!
//! In: a path. Out: tensors by name, converted to float32 and checked. Knows nothing of what the
//! tensors mean.

use super::json;
use super::tensors::TensorFile;
use anyhow::{Context, Result, anyhow, bail};
use half::{bf16, f16};
use safetensors::tensor::Dtype;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// A file of all tensors, and the index of several; the first that is there is read.
const NAMES: [(&str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];

/// An open checkpoint.
pub(crate) struct Checkpoint {
    files: Vec<TensorFile>,
    /// Tensor name to position in `files`.
    tensors: BTreeMap<String, usize>,
}

/// `model.safetensors.index.json`, and that of the other kind.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens one file.
    pub(crate) fn open_file(path: &Path) -> Result<Self> {
        let file = TensorFile::open(path)?;
        let tensors = file.tensors.keys().map(|name| (name.clone(), 0)).collect();
        Ok(Self { files: vec![file], tensors })
    }

    /// Opens the file of all tensors in `directory`, or the shards that its index lists.
    pub(crate) fn open_directory(directory: &Path) -> Result<Self> {
        for (single, index) in NAMES {
            let (single, index) = (directory.join(single), directory.join(index));
            if single.exists() {
                return Self::open_file(&single);
            }
            if index.exists() {
                return Self::open_shards(directory, &index);
            }
        }
        let [(single, index), (pickle, _)] = NAMES;
        bail!(
            "{}: not found, nor {index}, nor {pickle}; the directory of a Hugging Face checkpoint holds one \
             of them",
            directory.join(single).display()
        )
    }

    fn open_shards(directory: &Path, index_path: &Path) -> Result<Self> {
        let index: Index = serde_json::from_value(json::read(index_path)?).with_context(|| {
            format!("{}: not an index of shards; download it again", index_path.display())
        })?;
        let index_name = index_path.file_name().unwrap_or_default().display();
        let mut files: Vec<TensorFile> = Vec::new();
        let mut opened: HashMap<&str, usize> = HashMap::new();
        let mut tensors = BTreeMap::new();
        for (name, shard) in &index.weight_map {
            let at = match opened.get(shard.as_str()) {
                Some(&at) => at,
                None => {
                    if Path::new(shard).file_name() != Some(shard.as_ref()) {
                        bail!(
                            "{}: tensor `{name}` is in `{shard}`, expected the name of a file in \
                             the same directory",
                            index_path.display()
                        );
                    }
                    let path = directory.join(shard);
                    if !path.exists() {
                        bail!(
                            "{}: shard not found, but {index_name} says that tensor `{name}` is in it; \
                             download all shards",
                            path.display()
                        );
                    }
                    files.push(TensorFile::open(&path)?);
                    opened.insert(shard, files.len() - 1);
                    files.len() - 1
                }
            };
            if !files[at].tensors.contains_key(name) {
                bail!(
                    "{}: tensor `{name}` is missing, but {index_name} says that it is in this shard; \
                     download the shards and the index again, together",
                    files[at].path.display()
                );
            }
            tensors.insert(name.clone(), at);
        }
        for (at, file) in files.iter().enumerate() {
            // Which of two would count depends on the reader.
            let elsewhere = |name: &&String| tensors.get(*name).is_some_and(|&i| i != at);
            if let Some(name) = file.tensors.keys().find(elsewhere) {
                bail!(
                    "{}: tensor `{name}` is in another shard too, expected in one; download the shards \
                     and the index again, together",
                    file.path.display()
                );
            }
        }
        Ok(Self { files, tensors })
    }

    /// Whether there is a tensor `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of all tensors, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The file that holds tensor `name`, or else the first one.
    pub(crate) fn file_of(&self, name: &str) -> &Path {
        let at = self.tensors.get(name).copied().unwrap_or(0);
        self.files.get(at).map_or(Path::new(NAMES[0].0), |file| &file.path)
    }

    /// Entry `key` of the first file's metadata.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.files.first()?.notes.get(key).map(String::as_str)
    }

    /// The values of tensor `name`, which must have `shape`, must be floating point and finite.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let found = self.tensors.get(name).and_then(|&at| self.files.get(at));
        let found = found.and_then(|file| Some((file, file.tensors.get(name)?)));
        let Some((file, info)) = found else {
            bail!(
                "{}: tensor `{name}` is missing, expected with shape {shape:?}; there are {} other \
                 tensors: is this a whole checkpoint, and of the model in its configuration?",
                self.file_of(name).display(),
                self.tensors.len()
            );
        };
        let path = file.path.display();
        if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            bail!(
                "{path}: tensor `{name}` is {}, expected F32, F16 or BF16; import the original \
                 weights: they are quantised later, by `ripple pack`",
                info.dtype
            );
        }
        if info.shape != shape {
            bail!(
                "{path}: tensor `{name}` has shape {:?}, expected {shape:?} from the \
                 configuration; the weights and the configuration are of different models",
                info.shape
            );
        }
        let bytes = file.bytes.get(info.bytes.clone()).ok_or_else(|| {
            anyhow!("{path}: tensor `{name}` lies beyond the end of the file; download it again")
        })?;
        let values = to_f32(info.dtype, bytes);
        if let Some(i) = values.iter().position(|value| !value.is_finite()) {
            bail!(
                "{path}: tensor `{name}` holds {} at element {i} of {}, expected finite values; \
                 the checkpoint is damaged or overflowed when it was converted to {}: download it \
                 again or convert it to F32 or BF16",
                values[i],
                values.len(),
                info.dtype
            );
        }
        Ok(values)
    }
}

/// `bytes` of one of the three floating-point types as float32; exact for each of them.
fn to_f32(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let pairs = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match dtype {
        Dtype::F16 => pairs().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        _ => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
    }
}
