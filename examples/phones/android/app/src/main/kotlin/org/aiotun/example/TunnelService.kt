package org.aiotun.example

import android.content.Intent
import android.net.VpnService
import android.util.Log
import com.chaquo.python.PyObject
import com.chaquo.python.Python
import com.chaquo.python.android.AndroidPlatform
import kotlin.concurrent.thread

/** Makes the TUN and hands its descriptor to vpn.py, which then owns it. */
class TunnelService : VpnService() {
    private var vpn: PyObject? = null

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        if (intent?.action == STOP) stop() else if (vpn == null) start()
        return START_NOT_STICKY
    }

    private fun start() {
        val tun = Builder()
            .setSession("aiotun")
            .setMtu(MTU)
            .addAddress("10.9.0.2", 24)
            .addRoute("10.9.0.0", 24)
            .addDisallowedApplication(packageName) // its own connection must not go into the TUN
            .establish()
        if (tun == null) { // the user's consent was withdrawn
            stopSelf()
            return
        }
        if (!Python.isStarted()) Python.start(AndroidPlatform(this))
        val certificate = assets.open("ca.pem").bufferedReader().use { it.readText() }
        val started = Python.getInstance().getModule("vpn")
            .callAttr("Vpn", HOST, PORT, NAME, certificate)
        vpn = started
        val fd = tun.detachFd() // Java closes it no more: two owners would abort the app
        thread(name = "vpn") {
            Log.i(TAG, "the VPN ended: " + started.callAttr("run", fd, MTU))
            stopSelf()
        }
    }

    private fun stop() {
        vpn?.callAttr("stop")
        vpn = null
    }

    /** The user switched it off in the settings, or another app became the VPN. */
    override fun onRevoke() = stop()

    override fun onDestroy() {
        stop()
        super.onDestroy()
    }

    companion object {
        const val START = "start"
        const val STOP = "stop"
        private const val TAG = "aiotun"
        private const val MTU = 1400
        private const val HOST = "vpn.example.com"
        private const val PORT = 4433
        private const val NAME = "aiotun-vpn-server"
    }
}
