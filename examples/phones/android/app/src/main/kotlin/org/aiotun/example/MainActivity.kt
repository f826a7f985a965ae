package org.aiotun.example

import android.app.Activity
import android.content.Intent
import android.net.VpnService
import android.os.Bundle
import android.view.ViewGroup
import android.widget.Button
import android.widget.LinearLayout

/** Two buttons. Android asks the user once whether this app may make a VPN. */
class MainActivity : Activity() {
    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val layout = LinearLayout(this)
        layout.orientation = LinearLayout.VERTICAL
        layout.addView(button("Connect") { connect() })
        layout.addView(button("Disconnect") { tell(TunnelService.STOP) })
        setContentView(
            layout,
            ViewGroup.LayoutParams(
                ViewGroup.LayoutParams.MATCH_PARENT,
                ViewGroup.LayoutParams.MATCH_PARENT,
            ),
        )
    }

    private fun button(label: String, act: () -> Unit): Button {
        val button = Button(this)
        button.text = label
        button.setOnClickListener { act() }
        return button
    }

    private fun connect() {
        val consent: Intent? = VpnService.prepare(this)
        if (consent == null) tell(TunnelService.START) else startActivityForResult(consent, 0)
    }

    @Deprecated("Deprecated in Java")
    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        if (result == RESULT_OK) tell(TunnelService.START)
    }

    private fun tell(action: String) {
        startService(Intent(this, TunnelService::class.java).setAction(action))
    }
}
