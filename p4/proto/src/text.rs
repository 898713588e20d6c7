//! Protobuf text format: P4Info and pipeline configurations as `.txtpb` files.

use std::sync::LazyLock;

use miette::Diagnostic;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, text_format::FormatOptions};

use crate::p4::{config::v1::P4Info, v1::ForwardingPipelineConfig};

/// Why a text is not the wanted message. Lines and columns count from one.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The text does not follow the format or names an unknown field.
    #[error("{message_type}, line {line}, column {column}: {reason}")]
    Parse {
        /// Full name of the wanted message.
        message_type: String,
        /// Line of the offending text.
        line: usize,
        /// Column of the offending text.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The message's type is not part of this crate.
    #[error("no description of message {0}")]
    UnknownType(String),
    /// The message cannot be carried over to its typed form.
    #[error("{message_type}: {reason}")]
    Convert {
        /// Full name of the message.
        message_type: String,
        /// What is wrong.
        reason: String,
    },
}

/// Descriptions of every message of this crate, for text format and reflection. Built once, at first use.
pub fn descriptor_pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
        // The set is compiled into the crate; a test builds the pool from it.
        #[allow(clippy::expect_used)]
        DescriptorPool::decode(crate::FILE_DESCRIPTOR_SET).expect("the compiled descriptors are valid")
    });
    &POOL
}

fn descriptor<M: Name>() -> Result<prost_reflect::MessageDescriptor, TextError> {
    let name = M::full_name();
    descriptor_pool().get_message_by_name(&name).ok_or(TextError::UnknownType(name))
}

/// Parses any message of this crate.
pub fn parse<M: Message + Name + Default>(text: &str) -> Result<M, TextError> {
    let dynamic = DynamicMessage::parse_text_format(descriptor::<M>()?, text).map_err(|error| {
        // Errors without a label are about the end of the text.
        let label = error.labels().and_then(|mut labels| labels.next());
        let offset = label.map_or(text.len(), |label| label.offset()).min(text.len());
        let before = &text.as_bytes()[..offset];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column = offset - before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1) + 1;
        TextError::Parse { message_type: M::full_name(), line, column, reason: error.to_string() }
    })?;
    M::decode(dynamic.encode_to_vec().as_slice())
        .map_err(|error| TextError::Convert { message_type: M::full_name(), reason: error.to_string() })
}

/// Prints any message of this crate, one field a line.
pub fn print<M: Message + Name>(message: &M) -> Result<String, TextError> {
    let convert = |reason: String| TextError::Convert { message_type: M::full_name(), reason };
    let dynamic = DynamicMessage::decode(descriptor::<M>()?, message.encode_to_vec().as_slice())
        .map_err(|error| convert(error.to_string()))?;
    let mut text = dynamic.to_text_format_with_options(&FormatOptions::new().pretty(true));
    text.push('\n');
    Ok(text)
}

/// Reads a `.p4info.txtpb`.
pub fn parse_p4info(text: &str) -> Result<P4Info, TextError> {
    parse(text)
}

/// Prints P4Info as text.
pub fn print_p4info(info: &P4Info) -> Result<String, TextError> {
    print(info)
}

/// Reads a `ForwardingPipelineConfig`.
pub fn parse_pipeline_config(text: &str) -> Result<ForwardingPipelineConfig, TextError> {
    parse(text)
}

/// Prints a `ForwardingPipelineConfig` as text.
pub fn print_pipeline_config(config: &ForwardingPipelineConfig) -> Result<String, TextError> {
    print(config)
}
