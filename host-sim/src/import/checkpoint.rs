//! The tensors of a checkpoint: one file, or several behind an index.
//!
//! In: a path. Out: tensors by name, converted to float32 and checked. Knows nothing of what the
//! tensors mean.

use super::in_file::InFile;
use super::json;
use super::quants::Type;
use super::tensors::TensorFile;
use crate::model::Values;
use anyhow::{Context, Result, bail};
use safetensors::tensor::Dtype;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

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

    /// The values of tensor `name`, which must have `shape`, must be floating point and finite; they are left in
    /// the file until they are asked for.
    pub(crate) fn stored(&self, name: &str, shape: &[usize]) -> Result<Values> {
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
        let kind = match info.dtype {
            Dtype::F32 => Type::F32,
            Dtype::F16 => Type::F16,
            Dtype::BF16 => Type::BF16,
            found => bail!(
                "{path}: tensor `{name}` is {found}, expected F32, F16 or BF16; import the original \
                 weights: they are quantised later, by `ripple pack`"
            ),
        };
        if info.shape != shape {
            bail!(
                "{path}: tensor `{name}` has shape {:?}, expected {shape:?} from the \
                 configuration; the weights and the configuration are of different models",
                info.shape
            );
        }
        let range = info.bytes.clone();
        if file.bytes.get(range.clone()).is_none() {
            bail!("{path}: tensor `{name}` lies beyond the end of the file; download it again");
        }
        let count = shape.iter().product();
        let values = InFile { file: Arc::clone(&file.bytes), kind, start: range.start, count };
        if let Err((i, value)) = values.check() {
            bail!(
                "{path}: tensor `{name}` holds {value} at element {i} of {count}, expected finite values; \
                 the checkpoint is damaged or overflowed when it was converted to {}: download it \
                 again or convert it to F32 or BF16",
                info.dtype
            );
        }
        Ok(values.stored())
    }
}
