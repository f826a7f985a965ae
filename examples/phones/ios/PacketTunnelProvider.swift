// The packet tunnel extension of an iOS, tvOS or macOS app: it has the TUN made, and lets vpn.py
// find and use it. vpn.h is in the target's bridging header, vpn.c among its sources.

import Foundation
import NetworkExtension

private let mtu: Int32 = 1400
private let host = "vpn.example.com"
private let port: Int32 = 4433
private let name = "aiotun-vpn-server"

struct VpnError: LocalizedError {
    let errorDescription: String?
}

final class PacketTunnelProvider: NEPacketTunnelProvider {
    private static let python: String? = startPython()
    private var vpn: OpaquePointer?
    private let ended = DispatchSemaphore(value: 0)

    override func startTunnel(
        options: [String: NSObject]?, completionHandler: @escaping (Error?) -> Void
    ) {
        let settings = NEPacketTunnelNetworkSettings(tunnelRemoteAddress: host)
        settings.mtu = NSNumber(value: mtu)
        let ipv4 = NEIPv4Settings(addresses: ["10.9.0.2"], subnetMasks: ["255.255.255.0"])
        ipv4.includedRoutes = [
            NEIPv4Route(destinationAddress: "10.9.0.0", subnetMask: "255.255.255.0")
        ]
        settings.ipv4Settings = ipv4
        setTunnelNetworkSettings(settings) { error in
            if let error { return completionHandler(error) }
            completionHandler(self.start())
        }
    }

    /// Starts a thread in which vpn.py runs; an error if it cannot.
    private func start() -> Error? {
        if let reason = Self.python { return VpnError(errorDescription: reason) }
        guard
            let url = Bundle.main.url(forResource: "ca", withExtension: "pem"),
            let certificate = try? String(contentsOf: url, encoding: .utf8)
        else { return VpnError(errorDescription: "ca.pem is not in the bundle") }
        var reason: UnsafeMutablePointer<CChar>?
        guard let vpn = vpn_new(host, port, name, certificate, &reason) else {
            return VpnError(errorDescription: Self.text(reason))
        }
        self.vpn = vpn
        Thread.detachNewThread {
            let why = Self.text(vpn_run(vpn, -1, mtu))
            self.ended.signal()
            if !why.isEmpty { self.cancelTunnelWithError(VpnError(errorDescription: why)) }
        }
        return nil
    }

    override func stopTunnel(
        with reason: NEProviderStopReason, completionHandler: @escaping () -> Void
    ) {
        if let vpn {
            vpn_stop(vpn)
            ended.wait()
            vpn_free(vpn)
            self.vpn = nil
        }
        completionHandler()
    }

    /// Starts the bundle's Python, once; what is wrong if it did not start.
    private static func startPython() -> String? {
        let folder = Bundle.main.bundlePath
        let reason = vpn_start_python(folder + "/python", folder + "/app")
        return reason == nil ? nil : text(reason)
    }

    private static func text(_ characters: UnsafeMutablePointer<CChar>?) -> String {
        guard let characters else { return "no reason was given" }
        defer { free(characters) }
        return String(cString: characters)
    }
}
