//! The other end of a LengthPrefixed stream: decodes frames with tokio-util, answers each
//! with its bytes reversed.
//!
//! Arguments: path of a listening UNIX socket, size of the length in bytes, "big" or
//! "little", offset, adjustment, "strip" or "keep" the header. The answers have the same
//! length field and adjustment, but no offset: LengthDelimitedCodec writes none.

use futures_util::{SinkExt, StreamExt};
use tokio::net::UnixStream;
use tokio_util::codec::length_delimited::Builder;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, size, order, offset, adjustment, header] = arguments.as_slice() else {
        return Err("six arguments: path size order offset adjustment header".into());
    };
    let (size, offset): (usize, usize) = (size.parse()?, offset.parse()?);
    let adjustment: isize = adjustment.parse()?;
    let keep = header == "keep";
    let builder = || -> Builder {
        let mut builder = LengthDelimitedCodec::builder();
        builder.length_field_length(size);
        if order == "little" {
            builder.little_endian();
        }
        builder
    };

    let mut reading = builder();
    reading.length_field_offset(offset);
    if keep {
        // What is not skipped counts as payload.
        reading.num_skip(0).length_adjustment(adjustment + (offset + size) as isize);
    } else {
        reading.length_adjustment(adjustment);
    }
    let mut writing = builder();
    writing.length_adjustment(adjustment);

    let (read, write) = UnixStream::connect(path).await?.into_split();
    let mut frames = FramedRead::new(read, reading.new_codec());
    let mut answers = FramedWrite::new(write, writing.new_codec());
    let mut received = Vec::new();
    while let Some(frame) = frames.next().await {
        received.push(frame?);
    }
    for frame in received {
        let reversed: Vec<u8> = frame.iter().rev().copied().collect();
        answers.send(reversed.as_slice()).await?;
    }
    Ok(())
}
