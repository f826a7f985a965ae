//! forward MODE A B: two TUN devices, what comes out of one goes into the other.
//!
//! MODE: {async,framed,sync}-{offload,plain}, with -one-thread before the last part
//! for async and framed, -two-threads for sync. The synchronous calls block, so
//! `sync` has one thread a direction, or two; `async` has one task a direction on
//! tokio's default threads, or on a single one, and so has `framed`, where the
//! packets pass as the items of a stream and a sink.

use std::{env, io, process, sync::Arc, thread};

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use tun_rs::{
    async_framed::{BytesCodec, DeviceFramedRead, DeviceFramedWrite},
    AsyncDevice, DeviceBuilder, GROTable, SyncDevice, IDEAL_BATCH_SIZE, VIRTIO_NET_HDR_LEN,
};

const MTU: usize = 1500;

/// Room before a packet for the virtio_net_hdr that `send_multiple` puts there.
const OFFSET: usize = VIRTIO_NET_HDR_LEN;

fn builder(name: &str, offload: bool) -> DeviceBuilder {
    DeviceBuilder::new()
        .name(name)
        .mtu(MTU as u16)
        .offload(offload)
}

/// What one direction works with; allocated once.
struct Buffers {
    original: Vec<u8>,
    packets: Vec<Vec<u8>>,
    sizes: Vec<usize>,
    table: GROTable,
}

/// Coalescing appends to the first packet's buffer, as far as its capacity goes;
/// the crate counts the offset twice.
fn packet() -> Vec<u8> {
    let mut packet = Vec::with_capacity(2 * OFFSET + 65535);
    packet.resize(OFFSET + MTU, 0);
    packet
}

impl Buffers {
    fn new() -> Self {
        Buffers {
            original: vec![0; OFFSET + 65535],
            packets: (0..IDEAL_BATCH_SIZE).map(|_| packet()).collect(),
            sizes: vec![0; IDEAL_BATCH_SIZE],
            table: GROTable::default(),
        }
    }

    /// `send_multiple` takes each packet's length from its buffer.
    fn fit(&mut self, count: usize) {
        for (packet, size) in self.packets.iter_mut().zip(&self.sizes).take(count) {
            packet.truncate(OFFSET + size);
        }
    }

    /// Make the buffers whole again: some were cut, some grew by coalescing.
    fn restore(&mut self, count: usize) {
        for packet in self.packets.iter_mut().take(count) {
            packet.resize(OFFSET + MTU, 0);
        }
    }
}

// A failed send costs its packets, as everywhere: the other interface may be down.

fn pump(from: &SyncDevice, to: &SyncDevice, offload: bool) -> io::Result<()> {
    let mut b = Buffers::new();
    loop {
        if offload {
            let count =
                from.recv_multiple(&mut b.original, &mut b.packets, &mut b.sizes, OFFSET)?;
            b.fit(count);
            let _ = to.send_multiple(&mut b.table, &mut b.packets[..count], OFFSET);
            b.restore(count);
        } else {
            let size = from.recv(&mut b.original)?;
            let _ = to.send(&b.original[..size]);
        }
    }
}

async fn pump_async(from: Arc<AsyncDevice>, to: Arc<AsyncDevice>, offload: bool) -> io::Result<()> {
    let mut b = Buffers::new();
    loop {
        if offload {
            let received =
                from.recv_multiple(&mut b.original, &mut b.packets, &mut b.sizes, OFFSET);
            let count = received.await?;
            b.fit(count);
            let _ = to
                .send_multiple(&mut b.table, &mut b.packets[..count], OFFSET)
                .await;
            b.restore(count);
        } else {
            let size = from.recv(&mut b.original).await?;
            let _ = to.send(&b.original[..size]).await;
        }
    }
}

/// Items gather as long as more are ready, as `StreamExt::forward` does it.
async fn pump_framed(from: Arc<AsyncDevice>, to: Arc<AsyncDevice>) -> io::Result<()> {
    let source = DeviceFramedRead::new(from, BytesCodec::new());
    let mut sink = DeviceFramedWrite::new(to, BytesCodec::new());
    let mut batches = source.ready_chunks(IDEAL_BATCH_SIZE);
    while let Some(batch) = batches.next().await {
        for item in batch {
            let _ = sink.feed(item?).await;
        }
        let _ = SinkExt::<BytesMut>::flush(&mut sink).await;
    }
    Ok(())
}

async fn forward_async(a: &str, b: &str, offload: bool, framed: bool) -> io::Result<()> {
    let a = Arc::new(builder(a, offload).build_async()?);
    let b = Arc::new(builder(b, offload).build_async()?);
    println!("ready");
    let pump = |from, to| {
        if framed {
            tokio::spawn(pump_framed(from, to))
        } else {
            tokio::spawn(pump_async(from, to, offload))
        }
    };
    let (there, back) = (pump(a.clone(), b.clone()), pump(b, a));
    tokio::select! { end = there => end?, end = back => end? }
}

fn forward_sync(a: &str, b: &str, offload: bool, threads: usize) -> io::Result<()> {
    let a = Arc::new(builder(a, offload).build_sync()?);
    let b = Arc::new(builder(b, offload).build_sync()?);
    println!("ready");
    let mut pumps = Vec::new();
    for (from, to) in [(a.clone(), b.clone()), (b, a)] {
        for _ in 0..threads {
            let (from, to) = (from.clone(), to.clone());
            pumps.push(thread::spawn(move || pump(&from, &to, offload)));
        }
    }
    pumps
        .into_iter()
        .try_for_each(|pump| pump.join().expect("a pump panicked"))
}

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().collect();
    let [_, mode, a, b] = args.as_slice() else {
        eprintln!("usage: forward MODE A B");
        process::exit(2);
    };
    let (style, offload) = match mode.rsplit_once('-') {
        Some((style, "offload")) => (style, true),
        Some((style, "plain")) => (style, false),
        _ => (mode.as_str(), false),
    };
    match style {
        "async" | "framed" => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(forward_async(a, b, offload, style == "framed")),
        "async-one-thread" | "framed-one-thread" => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(forward_async(a, b, offload, style == "framed-one-thread")),
        "sync" => forward_sync(a, b, offload, 1),
        "sync-two-threads" => forward_sync(a, b, offload, 2),
        _ => {
            eprintln!("no mode {mode}");
            process::exit(2);
        }
    }
}
