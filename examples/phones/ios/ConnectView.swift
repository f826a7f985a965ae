// The app around the extension: one switch. The system asks the user once whether it may.

import NetworkExtension
import SwiftUI

@main
struct ExampleApp: App {
    var body: some Scene {
        WindowGroup { ConnectView() }
    }
}

struct ConnectView: View {
    @State private var message = ""

    var body: some View {
        VStack(spacing: 20) {
            Button("Connect") { Task { await act { try $0.connection.startVPNTunnel() } } }
            Button("Disconnect") { Task { await act { $0.connection.stopVPNTunnel() } } }
            Text(message)
        }
    }

    private func act(_ action: (NETunnelProviderManager) throws -> Void) async {
        do {
            let known = try await NETunnelProviderManager.loadAllFromPreferences()
            let manager = known.first ?? NETunnelProviderManager()
            let tunnel = NETunnelProviderProtocol()
            tunnel.providerBundleIdentifier = "org.aiotun.example.tunnel"
            tunnel.serverAddress = "vpn.example.com"
            manager.protocolConfiguration = tunnel
            manager.localizedDescription = "aiotun"
            manager.isEnabled = true
            try await manager.saveToPreferences()
            try await manager.loadFromPreferences()
            try action(manager)
            message = ""
        } catch {
            message = error.localizedDescription
        }
    }
}
