//! A Hugging Face directory to be changed and written: a demo model's, in a temporary folder.

#![allow(dead_code, reason = "each test binary uses a part")]

use ripple_host_sim::import::demo;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A tensor as a safetensors file holds it.
#[derive(Clone)]
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A checkpoint on its way to disk.
pub struct Directory {
    pub folder: tempfile::TempDir,
    pub config: Value,
    pub tensors: BTreeMap<String, Tensor>,
}

impl Directory {
    /// A copy of the demo model `name`.
    pub fn of(name: &str) -> Self {
        let source = demo::path(name).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(source.join("tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
        let bytes = std::fs::read(source.join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = tensors.tensors().into_iter().map(|(name, view)| {
            let (dtype, shape) = (view.dtype(), view.shape().to_vec());
            (name, Tensor { dtype, shape, bytes: view.data().to_vec() })
        });
        let config = std::fs::read(source.join("config.json")).unwrap();
        Self {
            folder,
            config: serde_json::from_slice(&config).unwrap(),
            tensors: tensors.collect(),
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.get_mut(name).unwrap()
    }

    /// Writes `config.json` and `model.safetensors`.
    pub fn write(&self) {
        self.write_config();
        self.write_shard("model.safetensors", |_| true);
    }

    pub fn write_config(&self) {
        std::fs::write(self.file("config.json"), self.config.to_string()).unwrap();
    }

    /// Writes the tensors that `keep` chooses by name.
    pub fn write_shard(&self, file: &str, keep: impl Fn(&str) -> bool) {
        let chosen = self.tensors.iter().filter(|(name, _)| keep(name));
        let views = chosen.map(|(name, t)| {
            (name.as_str(), TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap())
        });
        std::fs::write(self.file(file), serialize(views, None).unwrap()).unwrap();
    }

    /// Writes two shards and their index.
    pub fn write_sharded(&self) {
        self.write_config();
        let shard = |name: &str| format!("model-0000{}-of-00002.safetensors", 1 + name.len() % 2);
        for i in 1..=2 {
            let file = format!("model-0000{i}-of-00002.safetensors");
            self.write_shard(&file, |name| shard(name) == file);
        }
        let map: BTreeMap<&str, String> =
            self.tensors.keys().map(|name| (name.as_str(), shard(name))).collect();
        let index = serde_json::json!({"metadata": {"total_size": 0}, "weight_map": map});
        std::fs::write(self.file("model.safetensors.index.json"), index.to_string()).unwrap();
    }

    /// Stores every tensor as another type, through `convert` of its float16 values.
    pub fn convert(&mut self, dtype: Dtype, convert: impl Fn(half::f16) -> Vec<u8>) {
        for tensor in self.tensors.values_mut() {
            assert_eq!(tensor.dtype, Dtype::F16);
            let values =
                tensor.bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]));
            tensor.bytes = values.flat_map(&convert).collect();
            tensor.dtype = dtype;
        }
    }
}
