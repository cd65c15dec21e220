package integration_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// browser is a headless Chromium, controlled through its DevTools protocol.
type browser struct {
	conn    *websocket.Conn
	mu      sync.Mutex
	last    int
	waiting map[int]chan reply
	tabs    map[string]*tab // by session
}

// reply is a message of the DevTools protocol: the answer to a call, or an event of a session.
type reply struct {
	ID      int             `json:"id"`
	Result  json.RawMessage `json:"result"`
	Session string          `json:"sessionId"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
	Error   *struct{ Message string }
}

// browse starts a Chromium with its own profile. Both end with the test. The test fails if there is
// no Chromium.
func browse(t testing.TB) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("the status page is tested in Chromium, which .ci/needs installs: %v", err)
	}
	p := startBinary(t, path, nil, "--headless", "--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
		"--disable-extensions", "--hide-scrollbars", "--lang=en-GB", "about:blank")
	const before = "DevTools listening on "
	line := p.awaitLine("its address", func(line string) bool { return strings.HasPrefix(line, before) })
	ctx, cancel := context.WithCancel(context.Background())
	conn, _, err := websocket.Dial(ctx, strings.TrimPrefix(line, before), nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(64 << 20)
	b := &browser{conn: conn, waiting: map[int]chan reply{}, tabs: map[string]*tab{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(ctx)
	}()
	t.Cleanup(func() {
		_ = b.try("", "Browser.close", nil, nil)
		<-p.ended
		cancel()
		<-read
		conn.CloseNow()
	})
	return b
}

// read handles the messages of the browser until the connection ends.
func (b *browser) read(ctx context.Context) {
	for {
		_, message, err := b.conn.Read(ctx)
		if err != nil {
			b.mu.Lock()
			for _, c := range b.waiting {
				close(c)
			}
			b.waiting = nil
			b.mu.Unlock()
			return
		}
		var r reply
		if json.Unmarshal(message, &r) != nil {
			continue
		}
		b.mu.Lock()
		if c, ok := b.waiting[r.ID]; ok && r.Method == "" {
			c <- r
			delete(b.waiting, r.ID)
		} else if tab := b.tabs[r.Session]; tab != nil {
			tab.note(r.Method, r.Params)
		}
		b.mu.Unlock()
	}
}

// try makes a call of the DevTools protocol.
func (b *browser) try(session, method string, params, result any) error {
	b.mu.Lock()
	if b.waiting == nil {
		b.mu.Unlock()
		return errors.New("the browser has ended")
	}
	b.last++
	id, answered := b.last, make(chan reply, 1)
	b.waiting[id] = answered
	b.mu.Unlock()
	if params == nil {
		params = struct{}{}
	}
	message, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params, "sessionId": session})
	if session == "" {
		message, err = json.Marshal(map[string]any{"id": id, "method": method, "params": params})
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := b.conn.Write(ctx, websocket.MessageText, message); err != nil {
		return err
	}
	select {
	case r, ok := <-answered:
		if !ok {
			return errors.New("the browser has ended")
		}
		if r.Error != nil {
			return fmt.Errorf("%s: %s", method, r.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(r.Result, result)
	case <-ctx.Done():
		return fmt.Errorf("%s: no answer in %v", method, deadline)
	}
}

// tab is an open page and the faults on it. Only the test's goroutine may call its methods.
type tab struct {
	t       testing.TB
	b       *browser
	session string
	width   int
	// faults holds the console messages, except for the HTTP statuses that allowed accepts. b.mu
	// guards it.
	faults  []string
	allowed func(text string) bool
}

// open opens a page for a test.
func (b *browser) open(t testing.TB, url string) *tab {
	t.Helper()
	tab := &tab{t: t, b: b, allowed: func(string) bool { return false }}
	var target struct{ TargetID string }
	tab.ask("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	tab.ask("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	tab.session = session.SessionID
	b.mu.Lock()
	b.tabs[tab.session] = tab
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Accessibility"} {
		tab.call(domain+".enable", nil, nil)
	}
	tab.call("Page.navigate", map[string]any{"url": url}, nil)
	return tab
}

// ask makes a call of the DevTools protocol and fails the test on an error.
func (tab *tab) ask(session, method string, params, result any) {
	tab.t.Helper()
	if err := tab.b.try(session, method, params, result); err != nil {
		tab.t.Fatal(err)
	}
}

// call is ask for the tab's own session.
func (tab *tab) call(method string, params, result any) {
	tab.t.Helper()
	tab.ask(tab.session, method, params, result)
}

// note handles an event. Everything that the console shows as an error or a warning is a fault,
// also a violation of the page's policy.
func (tab *tab) note(method string, params json.RawMessage) {
	var text string
	switch method {
	case "Log.entryAdded":
		var p struct {
			Entry struct{ Source, Level, Text, URL string }
		}
		_ = json.Unmarshal(params, &p)
		if p.Entry.Level != "error" && p.Entry.Level != "warning" {
			return
		}
		text = fmt.Sprintf("%s %s: %s %s", p.Entry.Source, p.Entry.Level, p.Entry.Text, p.Entry.URL)
	case "Runtime.exceptionThrown":
		text = "exception: " + string(params)
	case "Runtime.consoleAPICalled":
		var p struct{ Type string }
		if _ = json.Unmarshal(params, &p); p.Type != "error" && p.Type != "warning" && p.Type != "assert" {
			return
		}
		text = "console: " + string(params)
	default:
		return
	}
	if !tab.allowed(text) {
		tab.faults = append(tab.faults, text)
	}
}

// allow accepts console messages that contain one of the words, from now on.
func (tab *tab) allow(words ...string) {
	tab.b.mu.Lock()
	defer tab.b.mu.Unlock()
	tab.allowed = func(text string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
}

// clean fails the test if there are faults so far, and forgets them.
func (tab *tab) clean() {
	tab.t.Helper()
	tab.b.mu.Lock()
	defer tab.b.mu.Unlock()
	for _, fault := range tab.faults {
		tab.t.Errorf("on the page's console: %s", fault)
	}
	tab.faults = nil
}

// eval evaluates an expression, which may be a promise, into result.
func (tab *tab) eval(expression string, result any) {
	tab.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Exception struct{ Description string }
		}
	}
	tab.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &r)
	if r.ExceptionDetails != nil {
		tab.t.Fatalf("%s\n%s", expression, r.ExceptionDetails.Exception.Description)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(r.Result.Value, result); err != nil {
		tab.t.Fatalf("%s gave %s: %v", expression, r.Result.Value, err)
	}
}

// await polls the page until a condition holds. A condition that cannot be evaluated, because its
// element is not there yet, does not hold.
func (tab *tab) await(what, condition string) {
	tab.t.Helper()
	var fault string
	tab.eval(fmt.Sprintf(`new Promise((done) => {
		const late = Date.now() + %d;
		(function look() {
			let fault = "it is not so";
			try {
				if (%s) fault = "";
			} catch (error) {
				fault = String(error);
			}
			if (!fault || Date.now() > late) done(fault);
			else setTimeout(look, 40);
		})();
	})`, (deadline/2).Milliseconds(), condition), &fault)
	if fault != "" {
		var text string
		tab.eval("document.body.innerText.slice(-3000)", &text)
		tab.clean()
		tab.t.Fatalf("%s: %s after %v. The page:\n%s", what, fault, deadline/2, text)
	}
}

// click clicks at the position of an element, as a mouse does. The uppermost element there gets the
// click. The pointer goes away then: what it rests on holds still, also where the page is scrolled
// beneath it.
func (tab *tab) click(selector string) {
	tab.t.Helper()
	var at struct{ X, Y float64 }
	tab.eval(fmt.Sprintf(`(() => {
		const node = document.querySelector(%q);
		node.scrollIntoView({ block: "center" });
		const box = node.getBoundingClientRect();
		return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
	})()`, selector), &at)
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		tab.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
	}
	tab.point(1, 1)
}

// point moves the pointer to a place in the window.
func (tab *tab) point(x, y float64) {
	tab.t.Helper()
	tab.call("Input.dispatchMouseEvent", map[string]any{"type": "mouseMoved", "x": x, "y": y}, nil)
}

// write types text into a field and replaces the field's content.
func (tab *tab) write(selector, text string) {
	tab.t.Helper()
	tab.eval(fmt.Sprintf("(() => { const field = document.querySelector(%q); field.focus(); field.select(); })()", selector), nil)
	tab.call("Input.insertText", map[string]any{"text": text}, nil)
}

// press presses a key.
func (tab *tab) press(key string, code int) {
	tab.t.Helper()
	text := map[string]string{"Enter": "\r"}[key]
	tab.call("Input.dispatchKeyEvent", map[string]any{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}, nil)
	tab.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
}

// size sets the width of the window.
func (tab *tab) size(width int) {
	tab.t.Helper()
	tab.width = width
	tab.resize(900)
}

func (tab *tab) resize(height float64) {
	tab.t.Helper()
	tab.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": tab.width, "height": int(height), "deviceScaleFactor": 1, "mobile": false}, nil)
	tab.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))", nil)
}

// system sets the colour theme that the system prefers.
func (tab *tab) system(theme string) {
	tab.t.Helper()
	tab.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": theme}}}, nil)
}

// picture returns the whole page as PNG. The window is as high as the page meanwhile, because the
// browser does not draw the parts outside of the window.
func (tab *tab) picture() []byte {
	tab.t.Helper()
	var metrics struct {
		CSSContentSize struct{ Width, Height float64 }
	}
	tab.call("Page.getLayoutMetrics", nil, &metrics)
	tab.resize(metrics.CSSContentSize.Height)
	defer tab.resize(900)
	var shot struct{ Data string }
	tab.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		tab.t.Fatal(err)
	}
	return png
}
