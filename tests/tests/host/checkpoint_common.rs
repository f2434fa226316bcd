//! Small llama2.c and GGUF files, written from a model as their own tools would.

#![allow(dead_code, reason = "each test binary uses a part")]

use ripple_host_sim::model::{Matrix, Model};
use ripple_kernel::Activation;
use ripple_tests::tiny::{self, Shape};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A tiny model of Llama's shape with SiLU gates.
pub fn silu(shape: Shape) -> Model {
    let mut model = tiny::model(shape);
    model.config.activation = Activation::Silu;
    model
}

/// Rows of heads with the two numbers that rotary positions turn next to each other: the way of
/// llama2.c and llama.cpp. Row `r` of a head was row `r / 2`, or as far into its second half.
pub fn neighbours(matrix: &Matrix, head_dim: usize) -> Vec<f32> {
    let half = head_dim / 2;
    (0..matrix.rows)
        .flat_map(|row| {
            let (head, r) = (row / head_dim, row % head_dim);
            matrix.row(head * head_dim + r % 2 * half + r / 2).to_vec()
        })
        .collect()
}

/// A piece of a SentencePiece vocabulary.
#[derive(Clone, Debug)]
pub struct Piece {
    pub text: String,
    pub score: f32,
}

/// `<unk>`, `<s>`, `</s>`, the 256 bytes, then `pieces`.
pub fn vocabulary(pieces: &[Piece]) -> Vec<Piece> {
    let named = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let front = named.into_iter().chain(bytes).map(|text| Piece { text, score: 0.0 });
    front.chain(pieces.iter().cloned()).collect()
}

/// A folder with `model.bin` and `tokenizer.bin`.
pub struct Llama2c {
    pub folder: tempfile::TempDir,
}

impl Llama2c {
    /// Writes `model` with `pieces` as its whole vocabulary; version 0 or 1.
    pub fn write(model: &Model, pieces: &[Piece], version: u32) -> Self {
        let c = &model.config;
        let vocab = pieces.len() as i32;
        let rows = |matrix: &Matrix| {
            (0..pieces.len()).flat_map(|i| matrix.row(i % matrix.rows).to_vec()).collect()
        };
        let signed = if c.tied_head || version > 0 { vocab } else { -vocab };
        let numbers = [c.dim, c.neurons, c.layers, c.heads, c.kv_heads].map(|n| n as i32);
        let mut bytes = Vec::new();
        if version > 0 {
            bytes.extend(0x616b_3432u32.to_le_bytes());
            bytes.extend(version.to_le_bytes());
        }
        for n in numbers.into_iter().chain([signed, c.context as i32]) {
            bytes.extend(n.to_le_bytes());
        }
        if version > 0 {
            bytes.push(u8::from(c.tied_head));
            bytes.resize(256, 0);
        }
        let head_dim = c.head_dim as usize;
        let all = |part: &dyn Fn(&ripple_host_sim::model::Layer) -> Vec<f32>| -> Vec<f32> {
            model.layers.iter().flat_map(part).collect()
        };
        let embed: Vec<f32> = rows(&model.embed);
        let attention_norm = all(&|l| l.attention_norm.weight.clone());
        let ffn_norm = all(&|l| l.ffn_norm.weight.clone());
        let mut parts = vec![
            all(&|l| neighbours(&l.query.weight, head_dim)),
            all(&|l| neighbours(&l.key.weight, head_dim)),
            all(&|l| l.value.weight.values().into_owned()),
            all(&|l| l.output.weight.values().into_owned()),
        ];
        let ffn = [
            all(&|l| l.gate.as_ref().unwrap().weight.values().into_owned()),
            all(&|l| l.down.weight.values().into_owned()),
            all(&|l| l.up.weight.values().into_owned()),
        ];
        let final_norm = model.final_norm.weight.clone();
        if version == 0 {
            parts.splice(0..0, [embed, attention_norm]);
            parts.push(ffn_norm);
            parts.extend(ffn);
            parts.extend([final_norm, vec![0.5; (c.context * c.head_dim) as usize]]);
        } else {
            parts.splice(0..0, [attention_norm, ffn_norm, final_norm, embed]);
            parts.extend(ffn);
        }
        parts.extend(model.head.as_ref().map(rows));
        bytes.extend(parts.iter().flatten().flat_map(|x| x.to_le_bytes()));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.bin"), bytes).unwrap();

        let mut bytes = 32i32.to_le_bytes().to_vec();
        for piece in pieces {
            let text = match piece.text.as_str() {
                "<s>" | "</s>" => format!("\n{}\n", piece.text),
                text => text.replace('\u{2581}', " "),
            };
            bytes.extend(piece.score.to_le_bytes());
            bytes.extend((text.len() as i32).to_le_bytes());
            bytes.extend(text.as_bytes());
        }
        std::fs::write(folder.path().join("tokenizer.bin"), bytes).unwrap();
        Self { folder }
    }

    pub fn model(&self) -> PathBuf {
        self.folder.path().join("model.bin")
    }

    pub fn tokenizer(&self) -> PathBuf {
        self.folder.path().join("tokenizer.bin")
    }
}

/// A metadata value.
#[derive(Clone)]
pub enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Floats(Vec<f32>),
    Ints(Vec<i32>),
}

/// A tensor: its type, its shape with rows first, its bytes.
#[derive(Clone)]
pub struct Tensor {
    pub kind: u32,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    pub fn f32(shape: &[usize], values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        Self { kind: 0, shape: shape.to_vec(), bytes }
    }
}

/// A GGUF file on its way to disk.
#[derive(Clone)]
pub struct Gguf {
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, Tensor>,
}

impl Gguf {
    /// `model` as llama.cpp's converter writes it, with a SentencePiece vocabulary of `pieces`.
    pub fn of(model: &Model, pieces: &[Piece]) -> Self {
        let c = &model.config;
        let mut file = Self { metadata: BTreeMap::new(), tensors: BTreeMap::new() };
        for (key, n) in [
            ("llama.embedding_length", c.dim),
            ("llama.block_count", c.layers),
            ("llama.feed_forward_length", c.neurons),
            ("llama.attention.head_count", c.heads),
            ("llama.attention.head_count_kv", c.kv_heads),
            ("llama.attention.key_length", c.head_dim),
            ("llama.rope.dimension_count", c.head_dim),
            ("llama.context_length", c.context),
            ("tokenizer.ggml.bos_token_id", 1),
            ("tokenizer.ggml.eos_token_id", 2),
        ] {
            file.set(key, Value::U32(n));
        }
        file.set("llama.attention.layer_norm_rms_epsilon", Value::F32(c.norm_eps));
        file.set("llama.rope.freq_base", Value::F32(model.rope_theta));
        file.set("general.architecture", Value::Text("llama".to_owned()));
        let activation = match c.activation {
            Activation::Silu => "silu",
            _ => "relu",
        };
        file.set("llama.hidden_activation", Value::Text(activation.to_owned()));
        file.set("general.name", Value::Text("tiny".to_owned()));
        file.set("tokenizer.chat_template", Value::Text("{{ messages }}".to_owned()));
        file.set("tokenizer.ggml.model", Value::Text("llama".to_owned()));
        let texts = pieces.iter().map(|piece| piece.text.clone()).collect();
        file.set("tokenizer.ggml.tokens", Value::Texts(texts));
        let scores = pieces.iter().map(|piece| piece.score).collect();
        file.set("tokenizer.ggml.scores", Value::Floats(scores));
        let kind = |piece: &Piece| match piece.text.as_str() {
            "<unk>" => 2,
            "<s>" | "</s>" => 3,
            text if text.starts_with("<0x") => 6,
            _ => 1,
        };
        let kinds = pieces.iter().map(kind).collect();
        file.set("tokenizer.ggml.token_type", Value::Ints(kinds));
        let head_dim = c.head_dim as usize;
        file.matrix("token_embd.weight", &model.embed);
        if let Some(head) = &model.head {
            file.matrix("output.weight", head);
        }
        file.vector("output_norm.weight", &model.final_norm.weight);
        for (i, l) in model.layers.iter().enumerate() {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            file.vector(&name("attn_norm"), &l.attention_norm.weight);
            file.vector(&name("ffn_norm"), &l.ffn_norm.weight);
            for (part, matrix) in [("attn_q", &l.query.weight), ("attn_k", &l.key.weight)] {
                let turned =
                    Tensor::f32(&[matrix.rows, matrix.cols], &neighbours(matrix, head_dim));
                file.tensors.insert(name(part), turned);
            }
            file.matrix(&name("attn_v"), &l.value.weight);
            file.matrix(&name("attn_output"), &l.output.weight);
            file.matrix(&name("ffn_gate"), &l.gate.as_ref().unwrap().weight);
            file.matrix(&name("ffn_up"), &l.up.weight);
            file.matrix(&name("ffn_down"), &l.down.weight);
        }
        file
    }

    pub fn set(&mut self, key: &str, value: Value) {
        self.metadata.insert(key.to_owned(), value);
    }

    fn matrix(&mut self, name: &str, m: &Matrix) {
        self.tensors.insert(name.to_owned(), Tensor::f32(&[m.rows, m.cols], &m.values()));
    }

    fn vector(&mut self, name: &str, values: &[f32]) {
        self.tensors.insert(name.to_owned(), Tensor::f32(&[values.len()], values));
    }

    pub fn bytes(&self) -> Vec<u8> {
        fn text(out: &mut Vec<u8>, text: &str) {
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        }
        fn list(out: &mut Vec<u8>, kind: u32, len: usize) {
            out.extend(9u32.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((len as u64).to_le_bytes());
        }
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            text(&mut out, key);
            let kind = |out: &mut Vec<u8>, kind: u32| out.extend(kind.to_le_bytes());
            match value {
                Value::U32(n) => {
                    kind(&mut out, 4);
                    out.extend(n.to_le_bytes());
                }
                Value::F32(x) => {
                    kind(&mut out, 6);
                    out.extend(x.to_le_bytes());
                }
                Value::Bool(b) => {
                    kind(&mut out, 7);
                    out.push(u8::from(*b));
                }
                Value::Text(t) => {
                    kind(&mut out, 8);
                    text(&mut out, t);
                }
                Value::Texts(all) => {
                    list(&mut out, 8, all.len());
                    all.iter().for_each(|t| text(&mut out, t));
                }
                Value::Floats(all) => {
                    list(&mut out, 6, all.len());
                    out.extend(all.iter().flat_map(|x| x.to_le_bytes()));
                }
                Value::Ints(all) => {
                    list(&mut out, 5, all.len());
                    out.extend(all.iter().flat_map(|x| x.to_le_bytes()));
                }
            }
        }
        let mut offset = 0u64;
        for (name, tensor) in &self.tensors {
            text(&mut out, name);
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            for &n in tensor.shape.iter().rev() {
                out.extend((n as u64).to_le_bytes());
            }
            out.extend(tensor.kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (tensor.bytes.len() as u64).next_multiple_of(32);
        }
        for tensor in self.tensors.values() {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&tensor.bytes);
        }
        out
    }

    /// Writes it as `model.gguf`.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("model.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}
