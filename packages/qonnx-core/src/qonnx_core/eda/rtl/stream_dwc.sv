/// Re-cuts a stream of elements from InElements a beat to OutElements a beat; their order stays.
/// Latency: 1 cycle after the last element of an output beat has come (2 from a wide to a narrow stream that divides it).
/// Rate: min(InElements, OutElements) elements per cycle.
/// Back-pressure: s_ready_o follows from registers alone, never from m_ready_i of the same cycle.
/// Frames have to be whole beats on both sides. Reset forgets all elements; data is not reset. Needs stream_skid.sv.
module stream_dwc #(
  parameter int unsigned ElementBits = 8,  // bits of an element
  parameter int unsigned InElements  = 1,  // elements of an input beat
  parameter int unsigned OutElements = 1,  // elements of an output beat
  parameter int unsigned OutBeats    = 1   // output beats of a frame, for m_last_o
) (
  input  logic                               clk_i,
  input  logic                               rst_ni,     // synchronous
  input  logic                               s_valid_i,
  output logic                               s_ready_o,
  input  logic [InElements*ElementBits-1:0]  s_data_i,
  output logic                               m_valid_o,
  input  logic                               m_ready_i,
  output logic [OutElements*ElementBits-1:0] m_data_o,
  output logic                               m_last_o    // with the last beat of a frame
);

  if (ElementBits < 1 || InElements < 1 || OutElements < 1 || OutBeats < 1) begin : gen_check_sizes
    $error("stream_dwc: ElementBits %0d, InElements %0d, OutElements %0d, OutBeats %0d; expected at least 1 of each",
           ElementBits, InElements, OutElements, OutBeats);
  end
  if ((OutElements * OutBeats) % InElements != 0) begin : gen_check_frame
    $error("stream_dwc: a frame of %0d elements is no whole number of input beats of %0d", OutElements * OutBeats,
           InElements);
  end

  localparam int unsigned InBits = InElements * ElementBits;
  localparam int unsigned OutBits = OutElements * ElementBits;

  logic running_q;  // low in reset and one cycle longer, so that nothing is taken in reset

  always_ff @(posedge clk_i) running_q <= rst_ni;

  if (InElements == OutElements) begin : gen_same
    stream_skid #(
      .Width (InBits)
    ) i_skid (
      .clk_i,
      .rst_ni,
      .s_valid_i,
      .s_ready_o,
      .s_data_i,
      .m_valid_o,
      .m_ready_i,
      .m_data_o
    );
  end else if (OutElements % InElements == 0) begin : gen_widen
    // All but the last input beat are collected; the last one goes with them into the output register.
    localparam int unsigned Ratio = OutElements / InElements;
    localparam int unsigned CountWidth = $clog2(Ratio);

    logic [OutBits-InBits-1:0] part_q;
    logic [OutBits-1:0]        joined, out_q;
    logic [CountWidth-1:0]     count_q;
    logic                      out_valid_q, is_last, push;

    assign is_last   = count_q == CountWidth'(Ratio - 1);
    assign s_ready_o = running_q && !(is_last && out_valid_q);
    assign push      = s_valid_i && s_ready_o;
    assign joined    = {s_data_i, part_q};
    assign m_valid_o = out_valid_q;
    assign m_data_o  = out_q;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        count_q     <= '0;
        out_valid_q <= 1'b0;
      end else begin
        if (push) count_q <= is_last ? '0 : count_q + 1'b1;
        if (push && is_last) out_valid_q <= 1'b1;
        else if (m_ready_i) out_valid_q <= 1'b0;
      end
    end

    always_ff @(posedge clk_i) begin
      if (push) part_q <= joined[OutBits-1:InBits];
      if (push && is_last) out_q <= joined;
    end
  end else if (InElements % OutElements == 0) begin : gen_narrow
    // One input beat waits while the one before leaves piece by piece.
    localparam int unsigned Ratio = InElements / OutElements;
    localparam int unsigned CountWidth = $clog2(Ratio);

    logic [InBits-1:0]     wait_q, shift_q;
    logic [CountWidth-1:0] count_q;
    logic                  wait_valid_q, shift_valid_q, is_last, load;

    assign is_last   = count_q == CountWidth'(Ratio - 1);
    assign load      = wait_valid_q && (!shift_valid_q || (is_last && m_ready_i));
    assign s_ready_o = running_q && !wait_valid_q;
    assign m_valid_o = shift_valid_q;
    assign m_data_o  = shift_q[OutBits-1:0];

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        count_q       <= '0;
        wait_valid_q  <= 1'b0;
        shift_valid_q <= 1'b0;
      end else begin
        if (s_valid_i && s_ready_o) wait_valid_q <= 1'b1;
        else if (load) wait_valid_q <= 1'b0;
        if (load) shift_valid_q <= 1'b1;
        else if (is_last && m_ready_i) shift_valid_q <= 1'b0;
        if (shift_valid_q && m_ready_i) count_q <= is_last ? '0 : count_q + 1'b1;
      end
    end

    always_ff @(posedge clk_i) begin
      if (s_valid_i && s_ready_o) wait_q <= s_data_i;
      if (load) shift_q <= wait_q;
      else if (m_ready_i) shift_q <= shift_q >> OutBits;
    end
  end else begin : gen_gearbox
    // A buffer of units of the common divisor: an output beat leaves at the bottom, an input beat lands on top.
    localparam int unsigned UnitElements = greatest_common_divisor(InElements, OutElements);
    localparam int unsigned UnitBits = UnitElements * ElementBits;
    localparam int unsigned InUnits = InElements / UnitElements;
    localparam int unsigned OutUnits = OutElements / UnitElements;
    // enough that the narrower side never waits for the other
    localparam int unsigned Units = InUnits + OutUnits + ((InUnits < OutUnits) ? InUnits : OutUnits) - 1;
    localparam int unsigned LevelWidth = $clog2(Units + 1);
    localparam int unsigned BufferBits = Units * UnitBits;

    logic [BufferBits-1:0] buffer_q, kept, placed;
    logic [LevelWidth-1:0] level_q, kept_level;  // units in the buffer, before and after the output
    logic                  push, pop;

    assign s_ready_o  = running_q && level_q <= LevelWidth'(Units - InUnits);
    assign m_valid_o  = level_q >= LevelWidth'(OutUnits);
    assign m_data_o   = buffer_q[OutBits-1:0];
    assign push       = s_valid_i && s_ready_o;
    assign pop        = m_valid_o && m_ready_i;
    assign kept       = pop ? buffer_q >> OutBits : buffer_q;
    assign kept_level = pop ? level_q - LevelWidth'(OutUnits) : level_q;

    // A shifter by stages of constant distance: an index times a width would become a multiplier.
    always_comb begin
      placed = BufferBits'(s_data_i);
      for (int unsigned stage = 0; stage < LevelWidth; stage++) begin
        if (kept_level[stage]) placed = placed << ((1 << stage) * UnitBits);
      end
    end

    always_ff @(posedge clk_i) begin
      if (!rst_ni) level_q <= '0;
      else level_q <= push ? kept_level + LevelWidth'(InUnits) : kept_level;
    end

    // Bits above the level are zero where an input beat lands, because zeros are shifted in from above.
    always_ff @(posedge clk_i) begin
      if (!rst_ni) buffer_q <= '0;
      else buffer_q <= push ? kept | placed : kept;
    end
  end

  if (OutBeats == 1) begin : gen_always_last
    assign m_last_o = 1'b1;
  end else begin : gen_count_last
    localparam int unsigned BeatWidth = $clog2(OutBeats);
    logic [BeatWidth-1:0] beat_q;
    assign m_last_o = beat_q == BeatWidth'(OutBeats - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) beat_q <= '0;
      else if (m_valid_o && m_ready_i) beat_q <= m_last_o ? '0 : beat_q + 1'b1;
    end
  end

  function automatic int unsigned greatest_common_divisor(int unsigned a, int unsigned b);
    int unsigned x, y, rest;
    x = a;
    y = b;
    while (y != 0) begin
      rest = x % y;
      x = y;
      y = rest;
    end
    return x;
  endfunction

endmodule
