//! echo: sends every datagram back, on one thread; prints "ready PORT" first.
//!
//! What came joined goes back joined: quinn-udp leaves it to its user to take it apart.

use std::io::{self, IoSliceMut};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState, BATCH_SIZE};
use tokio::{io::Interest, net::UdpSocket, runtime::Builder};

/// More than the largest datagram.
const SIZE: usize = 65_536;

async fn echo() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let state = UdpSocketState::new((&socket).into())?;
    println!("ready {}", socket.local_addr()?.port());
    let mut buffers = vec![0; SIZE * BATCH_SIZE];
    let mut metas = [RecvMeta::default(); BATCH_SIZE];
    loop {
        socket.readable().await?;
        let received = socket.try_io(Interest::READABLE, || {
            let mut slices = buffers.chunks_mut(SIZE).map(IoSliceMut::new).collect::<Vec<_>>();
            state.recv((&socket).into(), &mut slices, &mut metas)
        });
        let count = match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            other => other?,
        };
        for (meta, buffer) in metas[..count].iter().zip(buffers.chunks(SIZE)) {
            let transmit = Transmit {
                destination: meta.addr,
                ecn: meta.ecn,
                contents: &buffer[..meta.len],
                segment_size: (meta.stride < meta.len).then_some(meta.stride),
                src_ip: meta.dst_ip,
            };
            loop {
                socket.writable().await?;
                let sent = socket.try_io(Interest::WRITABLE, || {
                    state.try_send((&socket).into(), &transmit)
                });
                match sent {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    other => break other?,
                }
            }
        }
    }
}

fn main() -> io::Result<()> {
    Builder::new_current_thread().enable_io().build()?.block_on(echo())
}
