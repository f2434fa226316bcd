//! Chat templates of well-known models give the strings that `transformers` documents for them.

use ripple_host_sim::run::chat::{Chat, Message, read_template, render};

const CHATML: &str = "{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}";

const ZEPHYR: &str = "{% for message in messages %}\n{% if message['role'] == 'user' %}\n\
{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n\
{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n\
{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n\
{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}";

const LLAMA_2: &str = "{% if messages[0]['role'] == 'system' %}\
{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}\
{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}\
{% for message in loop_messages %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}\
{% endif %}{% if loop.index0 == 0 and system_message != false %}\
{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}\
{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}\
{% endif %}{% endfor %}";

fn messages(of: &[(&str, &str)]) -> Vec<Message> {
    of.iter().map(|(role, content)| Message::new(role, *content)).collect()
}

#[test]
fn chatml() {
    let chat = messages(&[
        ("user", "Hi there!"),
        ("assistant", "Nice to meet you!"),
        ("user", "Can I ask a question?"),
    ]);
    let expected = "<|im_start|>user\nHi there!<|im_end|>\n\
        <|im_start|>assistant\nNice to meet you!<|im_end|>\n\
        <|im_start|>user\nCan I ask a question?<|im_end|>\n";
    assert_eq!(render(CHATML, &chat, "", "<|im_end|>", false).unwrap(), expected);
    let expected = format!("{expected}<|im_start|>assistant\n");
    assert_eq!(render(CHATML, &chat, "", "<|im_end|>", true).unwrap(), expected);
}

#[test]
fn zephyr() {
    let chat = messages(&[
        ("system", "You are a friendly chatbot who always responds in the style of a pirate"),
        ("user", "How many helicopters can a human eat in one sitting?"),
    ]);
    let expected = "<|system|>\n\
        You are a friendly chatbot who always responds in the style of a pirate</s>\n\
        <|user|>\nHow many helicopters can a human eat in one sitting?</s>\n<|assistant|>\n";
    assert_eq!(render(ZEPHYR, &chat, "<s>", "</s>", true).unwrap(), expected);
}

#[test]
fn llama_2_and_what_it_refuses() {
    let chat = messages(&[
        ("system", "Be brief."),
        ("user", " Hello, how are you? "),
        ("assistant", "I'm doing great."),
        ("user", "Good."),
    ]);
    let expected = "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hello, how are you? [/INST] \
        I'm doing great. </s><s>[INST] Good. [/INST]";
    assert_eq!(render(LLAMA_2, &chat, "<s>", "</s>", true).unwrap(), expected);
    let error = render(LLAMA_2, &chat[2..], "<s>", "</s>", true).unwrap_err().to_string();
    assert!(error.contains("Conversation roles must alternate"), "{error}");
    let error = render("{% for %}", &chat, "", "", true).unwrap_err().to_string();
    assert!(error.starts_with("the chat template cannot be rendered"), "{error}");
}

#[test]
fn a_template_is_found_where_checkpoints_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tokenizer_config.json");
    assert!(read_template(folder.path()).unwrap_err().to_string().contains("no chat_template"));
    std::fs::write(&config, "{}").unwrap();
    assert!(read_template(folder.path()).unwrap_err().to_string().contains("no `chat_template`"));
    std::fs::write(&config, r#"{"chat_template": "one"}"#).unwrap();
    assert_eq!(read_template(folder.path()).unwrap(), "one");
    let named = r#"{"chat_template": [{"name": "tool_use", "template": "a"},
        {"name": "default", "template": "two"}]}"#;
    std::fs::write(&config, named).unwrap();
    assert_eq!(read_template(&config).unwrap(), "two");
    std::fs::write(folder.path().join("chat_template.jinja"), "three").unwrap();
    assert_eq!(read_template(folder.path()).unwrap(), "three");
}

#[test]
fn a_chat_grows_and_is_reset() {
    let mut chat = Chat::new("{{ messages | length }}".into(), Some("s"), "".into(), "".into());
    assert_eq!(chat.ask("a").unwrap(), "2");
    chat.answered("b".into());
    assert_eq!(chat.ask("c").unwrap(), "4");
    chat.withdraw();
    assert_eq!(chat.ask("d").unwrap(), "4");
    chat.reset();
    assert_eq!(chat.ask("e").unwrap(), "2");
}
